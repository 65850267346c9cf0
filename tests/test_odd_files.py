"""Odd files: each is read as it should be, left out with a warning, or refused by its name."""

from __future__ import annotations

import io
import logging
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from prune_core.data.images import decode, image_files
from prune_core.errors import DatasetError

RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
GREY = np.stack([RAMP] * 3)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MRSWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def colours() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def turned() -> Image.Exif:
    """The mark of a camera that was held on its side."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return exif


def portable(most: int, factor: int) -> bytes:
    return f"P5 8 8 {most}\n".encode() + (RAMP.astype(np.uint16) * factor).astype(">u2").tobytes()


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
    "transparent.png": (
        lambda f: Image.fromarray(RAMP).convert("P").save(f, transparency=bytes(range(64))),
        GREY,
    ),
    "turned.png": (
        lambda f: Image.fromarray(RAMP).save(f, exif=turned()),
        np.rot90(GREY, -1, (1, 2)),
    ),
    "grey16.pgm": (lambda f: f.write_bytes(portable(65_535, 257)), GREY),
    "ten_bits.pgm": (lambda f: f.write_bytes(portable(1_020, 4)), GREY),
    "big_endian.tif": (lambda f: Image.fromarray(RAMP.astype(">u2") * 257).save(f), GREY),
    "inks.tif": (
        lambda f: Image.fromarray(colours()).convert("CMYK").save(f),
        colours().transpose(2, 0, 1),
    ),
    "grey_and_alpha.png": (lambda f: Image.fromarray(RAMP).convert("LA").save(f), GREY),
    "a_png_by_another_name.jpg": (lambda f: Image.fromarray(RAMP).save(f, "PNG"), GREY),
    "moving.gif": (
        lambda f: Image.fromarray(RAMP).save(
            f, save_all=True, append_images=[Image.fromarray(255 - RAMP)]
        ),
        GREY,
    ),
    "pages.tif": (
        lambda f: Image.fromarray(RAMP).save(
            f, save_all=True, append_images=[Image.fromarray(255 - RAMP)]
        ),
        GREY,
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


def grey_tiff(bits: int, white: int, held: bytes) -> bytes:
    """A grey TIFF of 8x8; ``white`` is 0 where the lowest level is white."""
    tags = {256: 8, 257: 8, 258: bits, 259: 1, 262: white, 273: 8, 277: 1, 278: 8, 279: len(held)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    start = struct.pack("<2sHI", b"II", 42, 8 + len(held))
    return start + held + struct.pack("<H", len(tags)) + entries + bytes(4)


REFUSED: dict[str, Callable[[Path], object]] = {
    "text.png": png_with_too_much_text,
    "no_image.png": lambda f: f.write_text("no image"),
    "empty.png": lambda f: f.write_bytes(b""),
    "truncated.png": lambda f: f.write_bytes(png(colours())[:60]),
    "head_alone.bmp": lambda f: f.write_bytes(b"BM\0\0"),
    "broken.webp": lambda f: f.write_bytes(b"RIFF\x10\0\0\0WEBPVP8 \xff\xff\xff\xff"),
    "broken.tif": lambda f: f.write_bytes(b"II*\0\xff\xff\xff\x7f"),
    "32_bits.tif": lambda f: Image.fromarray(RAMP.astype(np.int32) * 1000).save(f),
    "12_bits.tif": lambda f: f.write_bytes(grey_tiff(12, 1, bytes(96))),
    "white_first.tif": lambda f: f.write_bytes(grey_tiff(16, 0, bytes(128))),
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


def test_pictures_after_the_first_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("moving.gif", "pages.tif", "grey.png"):
        RIGHT[name][0](tmp_path / name)
    with caplog.at_level(logging.WARNING):
        decode(image_files(tmp_path), None, tmp_path)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith("files with several pictures, of which the first is read: 2")
