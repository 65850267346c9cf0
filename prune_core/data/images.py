"""Image files: which files of a folder are images, and how one is decoded."""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from prune_core.data.stray import is_stray
from prune_core.errors import DatasetError

log = logging.getLogger(__name__)


def image_files(folder: Path) -> list[Path]:
    """Return every image below a folder, sorted: all files of kinds that Pillow reads.

    A warning says how many other files are left out.
    """
    images: list[Path] = []
    others: list[Path] = []
    for file in sorted(folder.rglob("*")):
        if any(is_stray(part) for part in file.relative_to(folder).parts) or file.is_dir():
            continue
        (images if file.suffix.lower() in _suffixes() else others).append(file)
    if others:
        kinds = Counter(file.suffix or "no suffix" for file in others).most_common(5)
        log.warning(
            "%s: files that are no images, and are left out: %d (%s)",
            folder, len(others), ", ".join(f"{kind}: {count}" for kind, count in kinds),
        )  # fmt: skip
    return images


@cache
def _suffixes() -> frozenset[str]:
    Image.init()
    known = Image.registered_extensions()
    return frozenset(suffix for suffix, kind in known.items() if kind in Image.OPEN)


def decode(sources: Iterable[bytes | Path], size: int | None, root: Path) -> NDArray[np.uint8]:
    """Decode images as RGB; the three channels of a grey image are equal.

    Args:
        sources: The files, or their content.
        size: The side in pixels to resize images to; None to keep their size.
        root: The folder of the data set, for error messages.

    Returns:
        [n, 3, h, w].

    Raises:
        DatasetError: An image cannot be decoded, or images differ in size.
    """
    images: list[NDArray[np.uint8]] = []
    for number, source in enumerate(sources):
        try:
            images.append(_decode(source, size))
        except MemoryError:
            raise
        except Exception as error:  # Pillow's plugins raise whatever their formats make them
            name = source if isinstance(source, Path) else f"image {number} of {root}"
            raise DatasetError(
                f"{name} cannot be decoded ({error or type(error).__name__}); fetch it again, "
                "or take it out"
            ) from error
    shapes = Counter(image.shape[:2] for image in images)
    if len(shapes) > 1:
        seen = ", ".join(f"{w}x{h}" for (h, w), _ in shapes.most_common(3))
        raise DatasetError(
            f"images in {root} differ in size ({seen}, ...); set dataset.size to resize them"
        )
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))


def _decode(source: bytes | Path, size: int | None) -> NDArray[np.uint8]:
    with Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as opened:
        colour = _eight_bits(opened).convert("RGB")
        if size is not None and colour.size != (size, size):
            colour = colour.resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(colour)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return an image with 8 bits a channel; Pillow's own conversion cuts off all above 255."""
    if image.mode.startswith("I;16"):
        levels = np.asarray(image).astype(np.float64) * (255 / 65_535)
        return Image.fromarray(np.rint(levels).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(
            f"its grey levels are of mode {image.mode!r}, 32 bits, and have no known range; "
            "save it with 8 or 16 bits"
        )
    return image
