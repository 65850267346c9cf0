"""Odd files: each is read as it should be, left out with a warning, or refused by its name."""

from __future__ import annotations

import io
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from prune_core.data import cache as cached
from prune_core.data import datasets
from prune_core.data.images import decode, image_files
from prune_core.errors import DatasetError
from prune_core.specs.settings import Dataset

from conftest import CPU

RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
GREY = np.stack([RAMP] * 3)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MRSWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def colours() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


RIGHT: dict[str, tuple[Callable[[Path], None], np.ndarray]] = {
    "grey.png": (lambda f: Image.fromarray(RAMP).save(f), GREY),
    "grey16.png": (lambda f: Image.fromarray(RAMP.astype(np.uint16) * 257).save(f), GREY),
    "grey16.tif": (lambda f: Image.fromarray(RAMP.astype(np.uint16) * 257).save(f), GREY),
    "twelve_of_16.png": (
        lambda f: Image.fromarray(RAMP.astype(np.uint16) * 16).save(f),
        np.rint(GREY.astype(float) * 16 * (255 / 65_535)).astype(np.uint8),
    ),
    "colour.png": (lambda f: Image.fromarray(colours()).save(f), colours().transpose(2, 0, 1)),
    "colour.TIFF": (lambda f: Image.fromarray(colours()).save(f), colours().transpose(2, 0, 1)),
    "colour.tga": (lambda f: Image.fromarray(colours()).save(f), colours().transpose(2, 0, 1)),
    "palette.gif": (lambda f: Image.fromarray(RAMP).convert("P").save(f), GREY),
    "bits.png": (
        lambda f: Image.fromarray(RAMP > 100).save(f),
        np.where(GREY > 100, 255, 0).astype(np.uint8),
    ),
    "alpha.png": (
        lambda f: Image.fromarray(np.dstack([colours(), RAMP])).save(f),
        colours().transpose(2, 0, 1),
    ),
}
"""What is written, and the tensor [3, 8, 8] that it is read as."""


@pytest.mark.parametrize("name", RIGHT)
def test_a_file_is_read_as_what_it_shows(name: str, tmp_path: Path) -> None:
    save, right = RIGHT[name]
    save(tmp_path / name)
    assert image_files(tmp_path) == [tmp_path / name]
    np.testing.assert_array_equal(decode([tmp_path / name], None, tmp_path)[0], right)


def png_with_too_much_text(file: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("x", "y" * 3_000_000, zip=True)
    Image.fromarray(RAMP).save(file, pnginfo=info)


REFUSED: dict[str, Callable[[Path], object]] = {
    "text.png": png_with_too_much_text,
    "no_image.png": lambda f: f.write_text("no image"),
    "empty.png": lambda f: f.write_bytes(b""),
    "truncated.png": lambda f: f.write_bytes(png(colours())[:60]),
    "head_alone.bmp": lambda f: f.write_bytes(b"BM\0\0"),
    "broken.webp": lambda f: f.write_bytes(b"RIFF\x10\0\0\0WEBPVP8 \xff\xff\xff\xff"),
    "broken.tif": lambda f: f.write_bytes(b"II*\0\xff\xff\xff\x7f"),
    "32_bits.tif": lambda f: Image.fromarray(RAMP.astype(np.int32) * 1000).save(f),
    "floats.tif": lambda f: Image.fromarray(RAMP.astype(np.float32)).save(f),
}


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_image_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    REFUSED[name](tmp_path / name)
    with pytest.raises(DatasetError, match=rf"{name} cannot be decoded \(.+\)"):
        decode(image_files(tmp_path), None, tmp_path)


def folders(root: Path, classes: str = "ab", train: int = 12, test: int = 4) -> Path:
    for part, count in (("train", train), ("test", test)):
        for label, name in enumerate(classes):
            folder = root / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (8, 8), (20 * label, index, 0)).save(folder / f"{index}.png")
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
     ".git/config.png", "$RECYCLE.BIN/0.png"],
)  # fmt: skip
def test_what_software_leaves_behind_is_no_class_and_no_image(stray: str, tmp_path: Path) -> None:
    root = folders(tmp_path)
    plain = load(root)
    for part in ("train", "test"):
        file = root / part / stray
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(colours()))
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
