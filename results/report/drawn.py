"""What a report was drawn from, as a digest: one of the same rows, by the same code, is kept."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from results.tables.load import Loaded

RECORD = "drawn.json"
"""Beside the page: the digest, the files that were drawn, and the lines that were printed."""
TABLES = ("trials", "evaluations", "epochs", "checks", "modules")
LIBRARIES = ("matplotlib", "numpy", "pandas", "scipy", "jinja2")
CODE = (".py", ".j2", ".css", ".js")


def digest(sweeps: Sequence[Loaded], metric: str | None) -> str:
    """Return what a report of these sweeps follows from, the first one's leading.

    The order of rows is no part of it: compaction changes it, and nothing in a report.
    """
    text = json.dumps([metric, _code(), [_of_sweep(loaded) for loaded in sweeps]])
    return hashlib.sha256(text.encode()).hexdigest()


def _of_sweep(loaded: Loaded) -> list[object]:
    frames = {name: getattr(loaded, name) for name in TABLES}
    if loaded.plan is not None:
        frames["plan"] = loaded.plan
    return [loaded.sweep, loaded.replication, {name: _rows(frames[name]) for name in frames}]


def _rows(frame: pd.DataFrame) -> list[object]:
    """Return a frame's columns, and its rows as a number that their order does not change."""
    columns = [f"{name}: {kind}" for name, kind in frame.dtypes.items()]
    if frame.empty:
        return [columns, 0, 0]
    rows = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    mixed = rows * np.uint64(0x9E3779B97F4A7C15) ^ (rows >> np.uint64(29))
    return [columns, len(frame), int(rows.sum()), int(mixed.sum())]


def _code() -> list[str]:
    """Return digests of this package's code and the versions of what it computes and draws by."""
    folder = Path(__file__).parents[1]
    whole = hashlib.sha256()
    for file in sorted(file for file in folder.rglob("*") if file.suffix in CODE):
        whole.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes())
    return [whole.hexdigest(), *(importlib.metadata.version(name) for name in LIBRARIES)]
