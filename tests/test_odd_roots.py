"""Odd roots of image folders: what is no class, no image, no split, or not all there."""

from __future__ import annotations

import io
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from prune_core.data import cache as cached
from prune_core.data import datasets
from prune_core.errors import DatasetError
from prune_core.specs.settings import Dataset

from conftest import CPU


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MRSWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (9, 9, 9)).save(buffer, "PNG")
    return buffer.getvalue()


def folders(root: Path, classes: str = "ab", train: int = 12, test: int = 4) -> Path:
    for part, count in (("train", train), ("test", test)):
        for label, name in enumerate(classes):
            folder = root / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (8, 8), (20 * label, index, len(part))).save(
                    folder / f"{index}.png"
                )
    if not test:
        shutil.rmtree(root / "test")
    return root


def load(root: Path, **settings: object) -> datasets.Dataset:
    spec = Dataset(name="imagefolder", root=str(root), source="folder", **settings)
    return datasets._load.__wrapped__(spec, CPU)


@pytest.mark.parametrize(
    "stray",
    [".ipynb_checkpoints/a-checkpoint.png", "__MACOSX/._a.png", ".DS_Store", "@eaDir/a.png/x.jpg",
     "a/.ipynb_checkpoints/0-checkpoint.png", "a/._0.png", "a/@eaDir/thumb.jpg", "a/Thumbs.db",
     "@Recycle/0.png", "Network Trash Folder/0.png", "a/Thumbs.db:encryptable",
     ".git/config.png", "$RECYCLE.BIN/0.png", "#recycle/0.png", "a/~$0.png", "a/Icon\r"],
)  # fmt: skip
def test_what_software_leaves_behind_is_no_class_and_no_image(stray: str, tmp_path: Path) -> None:
    root = folders(tmp_path)
    plain = load(root)
    for part in ("train", "test"):
        file = root / part / stray
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png())
    data = load(root)
    assert data.names == ("a", "b")
    assert data.classes == 2
    assert torch.equal(data.train.images, plain.train.images)
    assert torch.equal(data.test.images, plain.test.images)


def test_other_files_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = folders(tmp_path)
    for name in ("notes.txt", "boxes.txt", "README"):
        (root / "train" / "a" / name).write_text("x")
    with caplog.at_level(logging.WARNING):
        load(root)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "no images, and are left out: 3 (.txt: 2, no suffix: 1)" in line


ROOTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "loose images": (
        lambda r: (r / "train" / "0.png").write_bytes(png()),
        r"train: images that lie in no class folder: 1 \(0.png, ...\); put them into one",
    ),
    "Test": (lambda r: (r / "test").rename(r / "Test"), "is Test the test split?"),
    "testing": (lambda r: (r / "test").rename(r / "testing"), "is testing the test split?"),
    "packed": (
        lambda r: (shutil.rmtree(r / "test"), (r / "test.zip").write_bytes(b"PK")),
        "is test.zip the test split?",
    ),
    "evaluation": (lambda r: (r / "test").rename(r / "evaluation"), "is evaluation the test"),
    "no images": (
        lambda r: (r / "train" / "c" / "notes.txt").parent.mkdir(), r"no image in .*train/c",
    ),
    "a link that leads nowhere": (
        lambda r: (r / "train" / "a" / "x.png").symlink_to(r / "none"), "x.png: cannot be read",
    ),
    "one folder twice": (
        lambda r: (shutil.rmtree(r / "test"), (r / "test").symlink_to(r / "train")),
        "test and .*train are one folder",
    ),
    "one class": (
        lambda r: [shutil.rmtree(r / part / "b") for part in ("train", "test")],
        "imagefolder has 1 class, so that there is nothing to tell apart",
    ),
    "sizes": (
        lambda r: [Image.new("RGB", (16, 12)).save(f) for f in (r / "test").rglob("*.png")],
        "differ in size: 8x8 for training, 16x12 in the test split; set dataset.size",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", ROOTS)
def test_a_root_that_is_not_whole_is_refused(what: str, tmp_path: Path) -> None:
    change, said = ROOTS[what]
    change(folders(tmp_path))
    with pytest.raises(DatasetError, match=said):
        load(tmp_path)


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev"])
def test_the_test_split_may_have_other_names(name: str, tmp_path: Path) -> None:
    plain = load(folders(tmp_path))
    (tmp_path / "test").rename(tmp_path / name)
    assert torch.equal(load(tmp_path).test.images, plain.test.images)


def test_folders_beside_the_splits_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(folders(tmp_path) / "test", tmp_path / "val")
    (tmp_path / "unlabelled").mkdir()
    with caplog.at_level(logging.WARNING):
        load(tmp_path)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith(": folders that are left out: unlabelled, val")


def test_test_images_that_train_has_too_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = folders(tmp_path, train=20, test=0)
    shutil.copytree(root / "train", root / "test")
    (root / "test" / "a" / "7.png").write_bytes(png())
    with caplog.at_level(logging.WARNING):
        load(root)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith(
        "files of test that train has too: 39 (test/a/0.png is train/a/0.png, ...)"
    )


def test_linked_folders_are_read_and_circles_are_not(tmp_path: Path) -> None:
    root = folders(tmp_path / "images")
    more = tmp_path / "more"
    more.mkdir()
    (more / "100.png").write_bytes(png())
    (root / "train" / "a" / "more").symlink_to(more)
    (root / "train" / "a" / "round").symlink_to(root / "train" / "a")
    data = load(root)
    assert len(data.train) + len(data.validation) == 25


def test_a_size_that_nothing_heeds_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"images of digits .* are 8x8 and cannot be resized"):
        datasets._load.__wrapped__(Dataset(name="digits", size=16), CPU)


def test_only_the_images_of_a_subset_are_decoded(tmp_path: Path) -> None:
    root = folders(tmp_path)
    whole = load(root)
    few = load(root, per_class=5, test_per_class=1, validation=0.2)
    assert [len(s) for s in (few.train, few.validation, few.test)] == [8, 2, 2]
    kept = {tuple(image[:2, 0, 0].tolist()) for image in few.train.images}
    kept |= {tuple(image[:2, 0, 0].tolist()) for image in few.validation.images}
    for label, name in enumerate("ab"):
        for index in range(12):
            if (20 * label, index) not in kept:
                (root / "train" / name / f"{index}.png").write_text("no image")
    again = load(root, per_class=5, test_per_class=1, validation=0.2)
    assert torch.equal(again.train.images, few.train.images)
    assert len(whole.train) == 22
    with pytest.raises(DatasetError, match="cannot be decoded"):
        load(root)


@pytest.mark.parametrize(
    ("train", "test", "settings", "said"),
    [
        (1, 0, {}, "too few images for a test split: a share 0.25 of 1 images a class is none"),
        (1, 4, {}, "too few images for a validation split: a share 0.1 of 1 images a class"),
        (12, 4, {"per_class": 3}, "a validation split: a share 0.1 of 3 images a class is none"),
        (2, 4, {"validation": 0.9}, "a validation split: a share 0.9 of 2 images a class is all"),
    ],
)
def test_too_few_images_to_split_are_refused_with_their_counts(
    train: int, test: int, settings: dict[str, float], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=said):
        load(folders(tmp_path, train=train, test=test), **settings)


def test_home_and_variables_in_a_path_are_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("IMAGES", str(tmp_path / "mine"))
    for given in ("~/mine", "$IMAGES", "${IMAGES}"):
        spec = Dataset(name="imagefolder", root=given, source="folder")
        assert spec.root == str(tmp_path / "mine")
    monkeypatch.setenv("MRSWEEP_CACHE", "~/$IMAGES")
    monkeypatch.setenv("IMAGES", "mine")
    assert cached.folder() == tmp_path / "mine"
    with pytest.raises(ValueError, match="'~nobody-here/x': that user's home is not known here"):
        Dataset(name="imagefolder", root="~nobody-here/x", source="folder")


def test_a_user_without_a_home_has_a_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("MRSWEEP_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(cached, "gettempdir", lambda: str(tmp_path))
    assert cached.folder().parent == tmp_path
    monkeypatch.setenv("MRSWEEP_CACHE", "/there")
    assert cached.folder() == Path("/there")
    monkeypatch.setenv("MRSWEEP_CACHE", "~nobody-here/x")
    with pytest.raises(DatasetError, match="MRSWEEP_CACHE '~nobody-here/x': that home is not"):
        cached.folder()
