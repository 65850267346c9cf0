"""A figure as files: the same input gives the same bytes."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

from results.style import styled


def render(figure: Figure) -> dict[str, bytes]:
    """Return a figure as SVG, PDF and PNG, without a date: the same input gives the same bytes."""
    metadata = {
        "svg": {"Date": None},
        "pdf": {"CreationDate": None},
        "png": {"Software": None},
    }
    found = {}
    with styled():
        for kind, facts in metadata.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=facts, bbox_inches="tight")
            found[kind] = buffer.getvalue()
    return found
