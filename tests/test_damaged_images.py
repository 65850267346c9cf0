"""Image folders and Parquet with something missing or damaged: refused, with what to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_image_files import load, picture, tiny, write_folders

from prune_core.errors import DatasetError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRSWEEP_CACHE", str(tmp_path / "cache"))


def break_annotation(root: Path) -> None:
    notes = root / "val" / "val_annotations.txt"
    notes.write_text(notes.read_text().replace("n02", "n99", 1))


def shorten_annotations(root: Path) -> None:
    notes = root / "val" / "val_annotations.txt"
    notes.write_text("".join(notes.read_text().splitlines(keepends=True)[:-2]))


def repeat_annotation(root: Path) -> None:
    notes = root / "val" / "val_annotations.txt"
    notes.write_text(notes.read_text() + notes.read_text().splitlines(keepends=True)[0])


def truncate_image(root: Path) -> None:
    file = root / "train" / "n02" / "images" / "n02_3.png"
    file.write_bytes(file.read_bytes()[:30])


def odd_size(root: Path) -> None:
    picture(1, 3, side=9).save(root / "train" / "n02" / "images" / "n02_3.png")


def no_annotations(root: Path) -> None:
    (root / "val" / "val_annotations.txt").unlink()


def empty_class(root: Path) -> None:
    shutil.rmtree(root / "train" / "n03" / "images")


def no_train(root: Path) -> None:
    shutil.rmtree(root / "train")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (break_annotation, r"val_annotations.txt:2: no image 'val_1.JPEG', or no class 'n99'"),
        (shorten_annotations, r"val_annotations.txt has 10 lines for 12 images; it names each"),
        (repeat_annotation, r"val_annotations.txt has 13 lines for 12 images; it names each"),
        (truncate_image, r"n02_3.png cannot be decoded .* fetch it again"),
        (odd_size, r"differ in size \(8x8, 9x9.*; set dataset.size"),
        (no_annotations, r"neither val_annotations.txt nor a folder for every class"),
        (empty_class, r"no image in .*n03"),
        (no_train, r"no class folders in .*train; set root to the folder tiny-imagenet-200"),
    ],
)
def test_a_damaged_folder_says_what_to_do(
    damage: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    damage(tiny(tmp_path))
    with pytest.raises(DatasetError, match=words):
        load("tiny-imagenet", tmp_path, "folder")


def test_classes_that_differ_between_parts_are_named(tmp_path: Path) -> None:
    write_folders(tmp_path, "train")
    write_folders(tmp_path, "test")
    shutil.move(tmp_path / "test" / "n03", tmp_path / "test" / "n04")
    with pytest.raises(DatasetError, match="differ in classes: 'n03', 'n04'"):
        load("imagefolder", tmp_path, "folder")


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
def test_a_missing_data_set_says_what_to_do(name: str, tmp_path: Path) -> None:
    for source, words in (("parquet", r"no train\*.parquet in"), ("torchvision", "fetch it once")):
        with pytest.raises(DatasetError, match=words):
            load(name, tmp_path, source)


def test_a_damaged_parquet_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(DatasetError, match=r"train.parquet in .* cannot be read"):
        load("cifar10", tmp_path, "parquet")
    rows = [{"img": {"bytes": b"no image"}, "label": 0}]
    for part in ("train", "test"):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{part}.parquet")
    with pytest.raises(DatasetError, match=r"image 0 of .*train.parquet cannot be decoded"):
        load("cifar10", tmp_path, "parquet")
