"""Data sets in tables: Parquet files in the Hugging Face layout, or a folder of `save_to_disk`."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prune_core.data.arrow import read_columns, read_schema, saved_besides, saved_files
from prune_core.data.cache import decoded
from prune_core.data.images import decode
from prune_core.data.labels import classes_of
from prune_core.data.splits import Encoded
from prune_core.data.stray import MEANT, TEST_PARTS, files_in
from prune_core.errors import DatasetError

log = logging.getLogger(__name__)

COLUMNS = ("img", "image")
"""What the column of images may be called: encoded bytes, or a struct that holds them."""
TRAIN = ("train",)


def from_tables(
    root: Path, size: int | None, label: str, test_needed: bool, saved: bool = False
) -> tuple[Encoded, Encoded | None, tuple[str, ...]]:
    """Read a data set whose files are called ``train*.parquet`` and ``test*.parquet``.

    Args:
        root: The folder of the files; they may also be in its folder ``data``.
        size: The side in pixels to resize images to; None to keep their size.
        label: The column of the labels.
        test_needed: Whether a data set without a test split is refused.
        saved: Whether Hugging Face's `save_to_disk` wrote the folder, and there is no Parquet.

    Returns:
        The training images, the test images (None if there are none), and the classes' names.

    Raises:
        DatasetError: Files are missing, cannot be told apart or cannot be read, or labels are none.
    """
    splits: dict[str, list[Path]] = {}
    columns: dict[str, pa.ChunkedArray] = {}
    for split, parts, needed in (("train", TRAIN, True), ("test", TEST_PARTS, test_needed)):
        if files := (saved_files if saved else split_files)(root, parts):
            splits[split], columns[split] = files, _column(files, label)
        elif needed:
            ending = " as save_to_disk writes it" if saved else "*.parquet"
            names = " or ".join(f"{part}{ending}" for part in parts)
            raise DatasetError(f"no {names} in {root}; set root to the folder that holds them")
    used = [file for files in splits.values() for file in files]
    _warn_of_copies(used)
    _tell_others(root, used, "test" in splits, saved)
    try:
        labels, classes = classes_of(columns, _class_names(used, label))
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
    tables = _tables(root)
    for part in parts:
        named = re.compile(rf"{part}(?:[-_.]?(\d+))?(?:-of-(\d+))?(?:-[0-9a-f]{{8,}})?\.parquet")
        fitting = [file for file in tables if named.fullmatch(file.name)]
        kin = re.compile(rf"{part}(?![a-z]).*", re.IGNORECASE)
        strange = [f.name for f in tables if f not in fitting and kin.fullmatch(f.name)]
        if strange:
            raise DatasetError(
                f"{root}: {', '.join(strange)}: is that part of {part}? Its files are called "
                f"{part}.parquet or {part}-00000-of-00001.parquet; give it such a name, or another"
            )
        if len({file.parent for file in fitting}) > 1:
            raise DatasetError(f"{part}*.parquet is in {root} and in {root / 'data'}; keep one")
        if fitting:
            _check_whole(fitting, [match for f in fitting if (match := named.fullmatch(f.name))])
            return fitting
    return []


def _tables(root: Path, whole: bool = True) -> list[Path]:
    """Return all Parquet files in root and root/data; else those that are not whole yet, too."""
    folders = [folder for folder in (root, root / "data") if folder.is_dir()]
    files = (file for folder in folders for file in sorted(files_in(folder, deep=False)))
    suffixes = ((file, [s.lower() for s in file.suffixes]) for file in files)
    return [f for f, of in suffixes if ".parquet" in (of[-1:] if whole else of)]


def _tell_others(root: Path, used: Sequence[Path], has_test: bool, saved: bool) -> None:
    """Warn of what is left out, and refuse what may be a missing test split."""
    others = (
        saved_besides(root, used)
        if saved
        else [file.name for file in _tables(root, whole=False) if file not in used]
    )
    if not has_test and (meant := [name for name in others if name.lower().startswith(MEANT)]):
        raise DatasetError(
            f"{root}: is {' or '.join(meant)} the test split? It may be called "
            f"{', '.join(TEST_PARTS)}; rename it, or take it out"
        )
    if others:
        kind = "splits and files" if saved else "Parquet files"
        log.warning("%s: %s that are left out: %s", root, kind, ", ".join(others))


def _warn_of_copies(files: Sequence[Path]) -> None:
    """Warn of two files that hold the same: a shard twice, or training images as test images."""
    by_size: dict[int, list[Path]] = {}
    for file in files:
        by_size.setdefault(file.stat().st_size, []).append(file)
    seen: dict[bytes, Path] = {}
    for file in (file for alike in by_size.values() if len(alike) > 1 for file in alike):
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").digest()
        if (first := seen.setdefault(digest, file)) != file:
            log.warning("%s and %s hold the same: all of it is there twice", first, file.name)


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
    numbers = {int(place) for place in places if place is not None}
    total = totals.pop()
    if total:  # counted from 0, as a rule
        first = int(0 not in numbers and total in numbers)
        wanted = set(range(first, first + int(total)))
    else:
        wanted = set(range(0 if 0 in numbers else min(numbers), max(numbers) + 1))
    if wrong := sorted(wanted ^ numbers):
        what = "are missing" if wanted - numbers else f"are none of {total}"
        raise DatasetError(
            f"{folder}: of the shards {listed} these {what}: {', '.join(map(str, wrong[:8]))}; "
            "fetch the data set again"
        )


def _column(files: Sequence[Path], name: str) -> pa.ChunkedArray:
    tables: list[pa.Table] = []
    for file in files:
        try:
            tables.append(read_columns(file, [_named(file, (name,))]))
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(file, error) from error
    try:
        whole: pa.ChunkedArray = pa.concat_tables(tables, promote_options="permissive")[name]
    except pa.ArrowException as error:
        found = {
            str(table.schema.types[0]): file.name for file, table in zip(files, tables, strict=True)
        }
        kinds = ", ".join(f"{kind} ({file})" for kind, file in found.items())
        raise DatasetError(f"{files[0].parent}: labels are of several types: {kinds}") from error
    return whole


def _named(file: Path, names: Sequence[str]) -> str:
    """Return the column of a file that has one of some names.

    Raises:
        DatasetError: There is none, or there are several.
    """
    columns = read_schema(file).names
    found = [name for name in names for each in columns if each == name]
    if len(found) != 1:
        raise DatasetError(
            f"{file} has no one column {' or '.join(names)}; it has: {', '.join(columns)}"
        )
    return found[0]


def _unreadable(file: Path, error: Exception) -> DatasetError:
    return DatasetError(
        f"{file.name} in {file.parent} cannot be read ({error}); fetch the data set again"
    )


def _class_names(files: Sequence[Path], label: str) -> list[str] | None:
    """Return what the training images' description calls the classes, if it does.

    Raises:
        DatasetError: Another file calls one of them otherwise: its labels are others.
    """
    first = _names_in(files[0], label)
    for file in files[1:]:
        for index, pair in enumerate(zip(first or (), _names_in(file, label) or (), strict=False)):
            if pair[0] != pair[1]:
                raise DatasetError(
                    f"label {index} is {pair[0]!r} in {files[0]} and {pair[1]!r} in {file}; number "
                    "the classes alike"
                )
    return first


def _names_in(file: Path, label: str) -> list[str] | None:
    text = (read_schema(file).metadata or {}).get(b"huggingface", b"{}")
    try:
        feature = json.loads(text)["info"]["features"][label]
    except (ValueError, KeyError, TypeError):
        return None
    is_label = isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    return feature.get("names") if is_label else None


def _other_labelled(root: Path, test: Sequence[Path], label: str) -> str:
    """Name a split that has labels, for somebody whose test split has none."""
    for part in TEST_PARTS:
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
        return decoded(files, how, lambda: _decode(files, positions, size))

    return read


def _decode(
    files: Sequence[Path], positions: NDArray[np.int64], size: int | None
) -> NDArray[np.uint8]:
    encoded: dict[int, tuple[bytes, str]] = {}
    start = 0
    for file in files:
        try:
            column = _named(file, COLUMNS)
            rows = read_columns(file, [column])[column]
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(file, error) from error
        here = positions[(positions >= start) & (positions < start + len(rows))]
        for position in here.tolist():
            row = position - start
            cell = rows[row].as_py()
            data = cell.get("bytes") if isinstance(cell, dict) else cell
            if not isinstance(data, bytes):
                raise DatasetError(
                    f"{file}: row {row} holds no bytes of an image, but a {type(data).__name__}, "
                    f"as {column}; write what is in the image's file there"
                )
            encoded[position] = data, f"image {row} of {file}"
        start += len(rows)
    images, names = zip(*(encoded[position] for position in positions.tolist()), strict=True)
    return decode(images, size, files[0], names)
