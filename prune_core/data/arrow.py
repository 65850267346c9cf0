"""Files of tables: Parquet, and the Arrow streams that Hugging Face's `save_to_disk` writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from prune_core.errors import DatasetError

STATE = "state.json"
"""In the folder of a split: the names of its files, in their order."""


def read_schema(file: Path) -> pa.Schema:
    """Return the columns of a file, Parquet or Arrow by its suffix."""
    if file.suffix != ".arrow":
        return pq.read_schema(file)
    with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as stream:
        return stream.schema


def read_columns(file: Path, names: Sequence[str]) -> pa.Table:
    """Return some columns of a file, Parquet or Arrow by its suffix."""
    if file.suffix != ".arrow":
        return pq.read_table(file, columns=list(names))
    with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as stream:
        return stream.read_all().select(list(names))


def saved_files(root: Path, parts: Sequence[str]) -> list[Path]:
    """Return the files of the first of ``parts`` that a saved data set has, in their order.

    Args:
        root: What `DatasetDict.save_to_disk` was given.
        parts: What the split may be called.

    Raises:
        DatasetError: The split's own list of its files cannot be read, or one is missing.
    """
    for part in parts:
        listed = root / part / STATE
        if not listed.is_file():
            continue
        try:
            names = [each["filename"] for each in json.loads(listed.read_bytes())["_data_files"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{listed} cannot be read ({error}); save the set again") from error
        files = [root / part / name for name in names]
        if missing := [file.name for file in files if not file.is_file()] or not files:
            raise DatasetError(f"{root / part} lacks files of {STATE}: {missing}; save it again")
        return files
    return []
