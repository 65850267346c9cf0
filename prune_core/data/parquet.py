"""Data sets in Parquet files, in the Hugging Face layout."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from prune_core.data.cache import decoded
from prune_core.data.images import decode
from prune_core.data.labels import classes_of
from prune_core.data.splits import Encoded
from prune_core.errors import DatasetError

COLUMNS = ("img", "image")
"""What the column of images may be called: encoded bytes, or a struct that holds them."""
TRAIN = ("train",)
TEST = ("test", "validation", "valid", "val", "dev")
"""What the files of the test split may be called, in order of preference."""


def from_parquet(
    root: Path, size: int | None, label: str, test_needed: bool
) -> tuple[Encoded, Encoded | None, tuple[str, ...]]:
    """Read a data set whose files are called ``train*.parquet`` and ``test*.parquet``.

    Args:
        root: The folder of the files; they may also be in its folder ``data``.
        size: The side in pixels to resize images to; None to keep their size.
        label: The column of the labels.
        test_needed: Whether a data set without a test split is refused.

    Returns:
        The training images, the test images (None if there are none), and the classes' names.

    Raises:
        DatasetError: Files are missing, cannot be told apart or cannot be read, or labels are none.
    """
    splits: dict[str, list[Path]] = {}
    columns: dict[str, pa.ChunkedArray] = {}
    for split, parts, needed in (("train", TRAIN, True), ("test", TEST, test_needed)):
        if files := split_files(root, parts):
            splits[split], columns[split] = files, _column(files, label)
        elif needed:
            names = " or ".join(f"{part}*.parquet" for part in parts)
            raise DatasetError(f"no {names} in {root}; set root to the folder that holds them")
    try:
        labels, classes = classes_of(columns, _class_names(splits["train"][0], label))
    except DatasetError as error:
        other = _other_labelled(root, splits.get("test", []), label)
        raise DatasetError(f"{root}: {error}{other}") from error
    read = {
        split: Encoded.of(labels[split], _reader(files, size)) for split, files in splits.items()
    }
    return read["train"], read.get("test"), classes


def split_files(root: Path, parts: Sequence[str]) -> list[Path]:
    """Return the files of the first of ``parts`` that has any, in root or root/data.

    Raises:
        DatasetError: Shards are missing, or files are there that cannot be told apart.
    """
    for part in parts:
        named_so = {
            folder: sorted(folder.glob(f"{part}*.parquet")) for folder in (root, root / "data")
        }
        named = re.compile(rf"{part}(?:[-_.]?(\d+))?(?:-of-(\d+))?(?:-[0-9a-f]{{8,}})?\.parquet")
        fitting = {
            folder: [file for file in files if named.fullmatch(file.name)]
            for folder, files in named_so.items()
        }
        kin = re.compile(rf"{part}[-_.].*")
        if strange := [
            file.name
            for folder, files in named_so.items()
            for file in files
            if file not in fitting[folder] and kin.fullmatch(file.stem)
        ]:
            raise DatasetError(
                f"{root}: {', '.join(strange)}: is that part of {part}? Its files are called "
                f"{part}.parquet or {part}-00000-of-00001.parquet; give it such a name, or another"
            )
        if all(fitting.values()):
            raise DatasetError(f"{part}*.parquet is in {root} and in {root / 'data'}; keep one")
        for files in filter(None, fitting.values()):
            _check_whole(files, [match for f in files if (match := named.fullmatch(f.name))])
            return files
    return []


def _check_whole(files: list[Path], names: list[re.Match[str]]) -> None:
    """Refuse a split of which shards are missing, or which is there twice."""
    places = [name[1] and int(name[1]) for name in names]
    totals = {name[2] and int(name[2]) for name in names}
    folder, listed = files[0].parent, ", ".join(file.name for file in files[:4])
    if len(totals) > 1 or len(set(places)) < len(places) or (None in places and len(places) > 1):
        raise DatasetError(
            f"{folder}: {listed} do not belong together: shards of one split are numbered alike, "
            "each once; take out what does not belong to it"
        )
    if places == [None]:
        return
    numbers = [int(place) for place in places if place is not None]
    total = totals.pop()
    first = 0 if total or 0 in numbers else min(numbers)
    wanted = range(first, first + total) if total else range(first, max(numbers) + 1)
    if missing := sorted(set(wanted) - set(numbers)):
        raise DatasetError(
            f"{folder}: of the shards {listed} these are missing: "
            f"{', '.join(map(str, missing[:8]))}; fetch them"
        )


def _column(files: Sequence[Path], name: str) -> pa.ChunkedArray:
    try:
        tables = [pq.read_table(file, columns=[name]) for file in files]
        whole: pa.ChunkedArray = pa.concat_tables(tables)[name]
    except (OSError, KeyError, pa.ArrowException) as error:
        raise _unreadable(files[0], name, error) from error
    return whole


def _unreadable(file: Path, label: str, error: Exception) -> DatasetError:
    return DatasetError(
        f"{file.name} in {file.parent} cannot be read ({error}); it needs a column "
        f"{' or '.join(COLUMNS)} of encoded bytes and a column {label}; fetch it again"
    )


def _class_names(file: Path, label: str) -> list[str] | None:
    """Return what the file's own description calls the classes, if it does."""
    text = (pq.read_schema(file).metadata or {}).get(b"huggingface", b"{}")
    try:
        feature = json.loads(text)["info"]["features"][label]
    except (ValueError, KeyError, TypeError):
        return None
    return feature.get("names") if feature.get("_type") == "ClassLabel" else None


def _other_labelled(root: Path, test: Sequence[Path], label: str) -> str:
    """Name a split that has labels, for somebody whose test split has none."""
    for part in TEST:
        files = split_files(root, [part])
        if files and files != list(test):
            try:
                classes_of({"train": _column(files, label)}, None)
            except DatasetError:
                continue
            return f"; {files[0].name} has labels: give it the name of the test split instead"
    return ""


def _reader(files: Sequence[Path], size: int | None) -> Any:
    """Return a function that decodes the images at some positions of a split."""

    def read(positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        how = {"reader": "parquet", "size": size, "positions": positions.tolist()}
        return decoded(files, how, lambda: decode(_encoded(files, positions), size, files[0]))

    return read


def _encoded(files: Sequence[Path], positions: NDArray[np.int64]) -> list[bytes]:
    encoded: dict[int, bytes] = {}
    start = 0
    for file in files:
        try:
            schema = pq.read_schema(file)
            column = next(name for name in COLUMNS if name in schema.names)
            rows = pq.read_table(file, columns=[column])[column]
        except (OSError, StopIteration, pa.ArrowException) as error:
            raise _unreadable(file, "label", error) from error
        here = positions[(positions >= start) & (positions < start + len(rows))]
        for position in here.tolist():
            cell = rows[position - start].as_py()
            data = cell.get("bytes") if isinstance(cell, dict) else cell
            if not isinstance(data, bytes):
                raise DatasetError(f"{file}: row {position - start} holds no bytes of an image")
            encoded[position] = data
        start += len(rows)
    return [encoded[position] for position in positions.tolist()]
