"""A figure as files: the same input gives the same bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Collection

import matplotlib as mpl
from matplotlib.figure import Figure

from results.report.figures.style import styled

PADDING = 0.1
"""Inches round the drawing."""
CLIP = re.compile(rb'(?<=[#"])p[0-9a-f]{10}(?=[")])')


def render(figure: Figure, kinds: Collection[str] = ("svg", "pdf", "png")) -> dict[str, bytes]:
    """Return a figure as files by their kind, without a date: the same input, the same bytes."""
    metadata = {
        "svg": {"Date": None},
        "pdf": {"CreationDate": None},
        "png": {"Software": None},
    }
    files = {}
    with styled():
        # "tight" would draw everything once more for each format, and so would any layout engine.
        figure.set_dpi(mpl.rcParams["savefig.dpi"])  # letters are wider than at another resolution
        if engine := figure.get_layout_engine():
            engine.execute(figure)
            figure.set_layout_engine(None)  # nor "none", which is one; what is laid out stays
        box = figure.get_tightbbox().padded(PADDING)
        for kind in kinds:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=metadata[kind], bbox_inches=box)
            files[kind] = _renamed(buffer.getvalue()) if kind == "svg" else buffer.getvalue()
    return files


def _renamed(svg: bytes) -> bytes:
    """Name clip paths by their order.

    matplotlib names them by a digest of where panels lie, to the last digit; the layout engine
    solves in an order of addresses, so that this digit differs from process to process.
    """
    names: dict[bytes, bytes] = {}
    return CLIP.sub(lambda found: names.setdefault(found[0], b"clip%d" % len(names)), svg)
