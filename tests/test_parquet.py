"""Parquet files: what their labels mean, and what is no table of images."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from prune_core.data import datasets
from prune_core.data.labels import classes_of
from prune_core.data.parquet import TRAIN, split_files
from prune_core.errors import DatasetError
from prune_core.specs.settings import Dataset

from conftest import CPU

TRAINED, TESTED = [i % 4 for i in range(80)], [i % 4 for i in range(16)]
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRSWEEP_CACHE", str(tmp_path / "cache"))


def write(
    root: Path, name: str, labels: list[int], shown: Any = None, kind: pa.DataType | None = None,
    names: list[str] | None = None,
) -> None:  # fmt: skip
    """A file of images whose red is 20 times their class, whatever their labels are called."""
    images = []
    for label in labels:
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), (20 * label, len(images) % 200, 0)).save(buffer, "PNG")
        images.append({"bytes": buffer.getvalue(), "path": None})
    column = pa.array(labels if shown is None else shown, kind)
    table = pa.table({"image": pa.array(images, IMAGE), "label": column})
    if names is not None:
        feature = {"names": names, "_type": "ClassLabel"}
        info = json.dumps({"info": {"features": {"label": feature}}})
        table = table.replace_schema_metadata({"huggingface": info})
    root.mkdir(exist_ok=True)
    pq.write_table(table, root / f"{name}.parquet")


def load(root: Path, **settings: Any) -> datasets.Dataset:
    spec = Dataset(name="parquet", root=str(root), **settings)
    return datasets._load.__wrapped__(spec, CPU)


def check(data: datasets.Dataset, classes: int = 4) -> None:
    assert data.classes == classes
    for split in (data.train, data.validation, data.test):
        assert torch.equal(split.images[:, 0, 0, 0].long(), 20 * split.labels)


KINDS: dict[str, tuple[Any, pa.DataType, tuple[str, ...]]] = {
    "integers": (lambda c: c, pa.int64(), ("0", "1", "2", "3")),
    "bytes": (lambda c: c, pa.uint8(), ("0", "1", "2", "3")),
    "whole floats": (float, pa.float32(), ("0", "1", "2", "3")),
    "gaps": (lambda c: 250 * c, pa.int32(), ("0", "250", "500", "750")),
    "from one": (lambda c: c + 1, pa.int64(), ("1", "2", "3", "4")),
    "texts": (lambda c: "abcd"[c], pa.string(), ("a", "b", "c", "d")),
    "large texts": (lambda c: "abcd"[c], pa.large_string(), ("a", "b", "c", "d")),
    "truths": (lambda c: c % 2 == 1, pa.bool_(), ("0", "1")),
    "views of texts": (lambda c: "abcd"[c], pa.string_view(), ("a", "b", "c", "d")),
    "numbers by dictionary": (
        lambda c: c,
        pa.dictionary(pa.int8(), pa.int64()),
        ("0", "1", "2", "3"),
    ),
    "dictionary": (lambda c: "abcd"[c], pa.dictionary(pa.int8(), pa.string()), tuple("abcd")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_every_kind_are_numbered_in_order(kind: str, tmp_path: Path) -> None:
    name, of, names = KINDS[kind]
    for part, labels in (("train", TRAINED), ("test", TESTED)):
        write(tmp_path / "root", part, labels, [name(label) for label in labels], of)
    data = load(tmp_path / "root")
    assert data.names == names
    if kind != "truths":  # whose images are of four kinds
        check(data)


def test_the_file_s_own_names_of_classes_count_those_without_images_too(tmp_path: Path) -> None:
    write(tmp_path, "train", TRAINED, names=list("abcdef"))
    write(tmp_path, "test", TESTED)
    data = load(tmp_path)
    check(data, classes=6)
    assert data.names == tuple("abcdef")


REFUSED: dict[str, tuple[Any, pa.DataType, str]] = {
    "below 0": ([-1] * 16, pa.int64(), "test: labels below 0, .*: 16 of 16"),
    "some below 0": ([-1, *TESTED[1:]], pa.int64(), "test: labels below 0, .*: 1 of 16"),
    "missing": ([None, *TESTED[1:]], pa.int64(), r"test: labels that are missing \(null\): 1"),
    "fractions": ([0.5, *TESTED[1:]], pa.float64(), "labels such as 0.5 are no integers"),
    "lists": ([[0]] * 16, pa.list_(pa.int64()), "labels are of type list"),
    "texts": (["a"] * 16, pa.string(), "texts in one split and numbers in another"),
    "not a number": ([float("nan"), *TESTED[1:]], pa.float64(), "such as nan are no integers"),
    "without end": ([float("inf"), *TESTED[1:]], pa.float64(), "such as inf are no integers"),
    "decimals": ([Decimal(0)] * 16, pa.decimal128(3, 0), "labels are of type decimal"),
    "all missing": ([None] * 16, pa.null(), r"missing \(null\): 16"),
    "unknown": ([7, *TESTED[1:]], pa.int64(), "test has labels that train lacks: 7"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_label_is_refused(what: str, tmp_path: Path) -> None:
    shown, kind, said = REFUSED[what]
    write(tmp_path, "train", TRAINED)
    write(tmp_path, "test", TESTED, shown, kind)
    with pytest.raises(DatasetError, match=said):
        load(tmp_path)


def test_a_dictionary_may_have_no_value_for_a_label() -> None:
    for values in (["a", None], [0, None]):
        column = pa.chunked_array([pa.DictionaryArray.from_arrays([0, 1, 1], values)])
        with pytest.raises(DatasetError, match=r"train: labels that are missing \(null\): 2"):
            classes_of({"train": column}, None)


def test_the_split_that_has_labels_is_named(tmp_path: Path) -> None:
    write(tmp_path, "train", TRAINED)
    write(tmp_path, "test", TESTED, [-1] * 16)
    write(tmp_path, "validation", TESTED)
    with pytest.raises(DatasetError, match=r"validation.parquet has labels: give it the name of"):
        load(tmp_path)


TABLES: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "no rows": (lambda t: t.slice(0, 0), "train: its files hold no rows"),
    "no labels": (
        lambda t: t.rename_columns(["image", "labels"]),
        "train.parquet has no one column label; it has: image, labels",
    ),
    "labels twice": (
        lambda t: t.append_column("label", t["label"]), "has no one column label; it has: image, l",
    ),
    "no images": (
        lambda t: t.rename_columns(["pixels", "label"]), "has no one column img or image; it has: ",
    ),
    "no bytes": (
        lambda t: t.set_column(0, "image", pa.array([[1, 2]] * len(t))),
        "train.parquet: row 0 holds no bytes of an image, but a list",
    ),
    "empty texts": (
        lambda t: t.set_column(1, "label", pa.array(["", "a", "b", " "] * (len(t) // 4))),
        "train: labels that are empty texts: 40 of 80",
    ),
    "images twice": (
        lambda t: t.append_column("img", t["image"]), "has no one column img or image; it has: im",
    ),
    "one class": (lambda t: t.filter(pa.compute.equal(t["label"], 0)), "train lacks: 1, 2, 3"),
}  # fmt: skip


@pytest.mark.parametrize("what", TABLES)
def test_a_table_that_is_no_split_is_refused(what: str, tmp_path: Path) -> None:
    write(tmp_path, "train", TRAINED)
    write(tmp_path, "test", TESTED)
    change, said = TABLES[what]
    pq.write_table(change(pq.read_table(tmp_path / "train.parquet")), tmp_path / "train.parquet")
    with pytest.raises(DatasetError, match=said):
        load(tmp_path)


@pytest.mark.parametrize("info", ["[]", '{"info": {"features": {"label": "int"}}}', "{", '"x"'])
def test_a_description_that_says_nothing_of_labels_is_passed_over(
    info: str, tmp_path: Path
) -> None:
    write(tmp_path, "train", TRAINED)
    write(tmp_path, "test", TESTED)
    table = pq.read_table(tmp_path / "train.parquet")
    described = table.replace_schema_metadata({"huggingface": info})
    pq.write_table(described, tmp_path / "train.parquet")
    check(load(tmp_path))


def test_files_of_another_name_are_not_part_of_a_split(tmp_path: Path) -> None:
    write(tmp_path, "train", TRAINED)
    write(tmp_path, "training_notes", TRAINED)
    write(tmp_path, "test", TESTED)
    assert [file.name for file in split_files(tmp_path, TRAIN)] == ["train.parquet"]


def test_only_the_images_of_a_subset_are_decoded(tmp_path: Path) -> None:
    write(tmp_path, "train", TRAINED)
    write(tmp_path, "test", TESTED)
    few = load(tmp_path, per_class=5, test_per_class=1, validation=0.2)
    kept = {int(image[1, 0, 0]) for split in (few.train, few.validation) for image in split.images}
    table = pq.read_table(tmp_path / "train.parquet")
    images = table["image"].to_pylist()
    for position in set(range(80)) - kept:
        images[position] = {"bytes": b"no image", "path": None}
    broken = table.set_column(0, "image", pa.array(images, IMAGE))
    pq.write_table(broken, tmp_path / "train.parquet")
    again = load(tmp_path, per_class=5, test_per_class=1, validation=0.2)
    np.testing.assert_array_equal(again.train.images.numpy(), few.train.images.numpy())
    with pytest.raises(DatasetError, match="cannot be decoded"):
        load(tmp_path)
