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


def listed(split: Path) -> list[Path]:
    """Return the files that a saved split's own list names, in their order; one may be missing.

    Raises:
        DatasetError: The list cannot be read, or does not say all.
    """
    state = split / STATE
    try:
        held = json.loads(state.read_bytes())
        names = [each["filename"] for each in held["_data_files"]]
        files = [split / name for name in names]
        chosen = held.get("_indices_data_files") or held.get("_indices_files")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{state} cannot be read ({error}); save the set again") from error
    if chosen or len(set(files)) < len(files):
        why = "takes only some rows of its files (indices)" if chosen else "names a file twice"
        raise DatasetError(f"{state} {why}, which cannot be read here; save the set again")
    return files


def saved_files(root: Path, parts: Sequence[str]) -> list[Path]:
    """Return the files of the first of ``parts`` that a saved data set has, in their order.

    Args:
        root: What `DatasetDict.save_to_disk` was given.
        parts: What the split may be called.

    Raises:
        DatasetError: The split's own list of its files cannot be read, or one is missing.
    """
    for part in parts:
        if (root / part / STATE).is_file():
            files = listed(root / part)
            missing = ", ".join(file.name for file in files if not file.is_file())
            if missing or not files:
                lack = (
                    f"lacks files of {STATE}: {missing}" if missing else f"has no file in {STATE}"
                )
                raise DatasetError(f"{root / part} {lack}; save it again")
            return files
    return []


def saved_besides(root: Path, used: Sequence[Path]) -> list[str]:
    """Return what else of a saved data set lies there: splits, and files that no list names."""
    splits = sorted({file.parent for file in used})
    others = [folder.parent for folder in sorted(root.glob(f"*/{STATE}"))]
    loose = (file for split in splits for file in sorted(split.glob("*.arrow")))
    return [
        *(folder.name for folder in others if folder not in splits),
        # What datasets keeps of a `map` begins so.
        *(f"{f.parent.name}/{f.name}" for f in loose if f not in used and "cache-" not in f.name),
    ]
