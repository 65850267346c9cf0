"""Image files: which files of a folder are images, and how one is decoded."""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin

from prune_core.data.stray import files_in
from prune_core.errors import DatasetError

log = logging.getLogger(__name__)


def image_files(folder: Path) -> list[Path]:
    """Return every image below a folder, sorted: all files of kinds that Pillow reads.

    A warning says how many other files are left out.
    """
    files = sorted(files_in(folder)) if folder.is_dir() else []
    leave_out(folder, [file for file in files if not is_image(file)])
    return list(filter(is_image, files))


def is_image(file: Path) -> bool:
    """Say whether a file's suffix is of a kind that Pillow reads."""
    return file.suffix.lower() in _suffixes()


def leave_out(folder: Path, files: Sequence[Path]) -> None:
    """Warn of files in a folder that are no images."""
    if files:
        kinds = Counter(file.suffix or "no suffix" for file in files).most_common(5)
        log.warning(
            "%s: files that are no images, and are left out: %d (%s)",
            folder, len(files), ", ".join(f"{kind}: {count}" for kind, count in kinds),
        )  # fmt: skip


@cache
def _suffixes() -> frozenset[str]:
    Image.init()
    known = Image.registered_extensions()
    return frozenset(suffix for suffix, kind in known.items() if kind in Image.OPEN)


def decode(
    sources: Iterable[bytes | Path],
    size: int | None,
    root: Path,
    names: Sequence[str] | None = None,
) -> NDArray[np.uint8]:
    """Decode images as RGB, as they are to be seen; the three channels of a grey image are equal.

    A warning says how many files hold several pictures, of which the first is taken.

    Args:
        sources: The files, or their content.
        size: The side in pixels to resize images to; None to keep their size.
        root: The folder of the data set, for messages.
        names: What messages call the images; by default the names of their files.

    Returns:
        [n, 3, h, w].

    Raises:
        DatasetError: An image cannot be decoded, or images differ in size.
    """
    images: list[NDArray[np.uint8]] = []
    several = 0
    for number, source in enumerate(sources):
        try:
            image, pictures = _decode(source, size)
        except MemoryError:
            raise
        except Exception as error:  # Pillow's plugins raise whatever their formats make them
            name = names[number] if names else str(source)
            reason = str(error).partition(" <_io.BytesIO")[0] or type(error).__name__
            raise DatasetError(
                f"{name} cannot be decoded ({reason}); fetch it again, or take it out"
            ) from error
        images.append(image)
        several += pictures > 1
    if several:
        log.warning(
            "%s: files with several pictures, of which the first is read: %d", root, several
        )
    shapes = Counter(image.shape[:2] for image in images)
    if len(shapes) > 1:
        seen = ", ".join(f"{w}x{h}" for (h, w), _ in shapes.most_common(3))
        raise DatasetError(
            f"images in {root} differ in size ({seen}, ...); set dataset.size to resize them"
        )
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))


def _decode(source: bytes | Path, size: int | None) -> tuple[NDArray[np.uint8], int]:
    """Return an image, and how many pictures its file holds."""
    with Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as opened:
        # Those of cameras (MPO) and icons are one picture in several sizes.
        pictures = 1 if opened.format in ("MPO", "ICO", "ICNS") else getattr(opened, "n_frames", 1)
        _check_levels(opened)
        colour = _eight_bits(ImageOps.exif_transpose(opened), opened.format)
        if "transparency" in colour.info:
            colour = colour.convert("RGBA")  # what is transparent has a colour all the same
        colour = colour.convert("RGB")
        if size is not None and colour.size != (size, size):
            colour = colour.resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(colour), pictures


def _check_levels(opened: Image.Image) -> None:
    """Refuse grey levels of which Pillow does not heed how many there are, or which way they go."""
    if isinstance(opened, TiffImagePlugin.TiffImageFile) and opened.mode.startswith("I;16"):
        (bits, *_), white = opened.tag_v2.get(258, (16,)), opened.tag_v2.get(262) == 0
        if bits != 16 or white:
            how = "from white to black" if white else f"of {bits} bits"
            raise ValueError(
                f"its grey levels are {how}; save it with 8 or 16, from black to white"
            )


def _eight_bits(image: Image.Image, kind: str | None) -> Image.Image:
    """Return an image with 8 bits a channel; Pillow's own conversion cuts off all above 255."""
    # Of portable grey maps it makes 32 bits, in the range of 16.
    if image.mode.startswith("I;16") or (image.mode == "I" and kind == "PPM"):
        levels = np.asarray(image).astype(np.float64) * (255 / 65_535)
        return Image.fromarray(np.rint(levels).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(
            f"its grey levels are of mode {image.mode!r}, 32 bits, and have no known range; "
            "save it with 8 or 16 bits"
        )
    return image
