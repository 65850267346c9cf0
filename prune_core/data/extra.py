"""Further training images, such as generated ones, and how batches take them in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from prune_core.data.splits import Split
from prune_core.errors import DatasetError
from prune_core.specs.images import Extra
from prune_core.specs.keys import file_digest


def from_npz(extra: Extra, shape: tuple[int, int, int], classes: int) -> Split:
    """Read further images.

    Args:
        extra: The file, and what its digest is.
        shape: Of the images that they go with.
        classes: How many there are of these.

    Raises:
        DatasetError: It is another file, cannot be read, or is of other images.
    """
    if (found := file_digest(Path(extra.file))) != extra.content:
        raise DatasetError(
            f"{extra.file} is {found or 'not there'}, and the plan is for {extra.content}: give "
            "every machine the same file"
        )
    try:
        with Path(extra.file).open("rb") as file, np.load(file, allow_pickle=False) as held:
            images, labels = np.asarray(held["image"]), np.asarray(held["label"])
    except MemoryError:
        raise
    except Exception as error:  # archives that are damaged or locked raise what they like
        raise DatasetError(
            f"{extra.file} has no arrays image and label without code: {error}"
        ) from error
    channels, height, width = shape
    whole = images.dtype == np.uint8 and np.issubdtype(labels.dtype, np.integer)
    fits = labels.ndim == 1 and images.shape == (len(labels), height, width, channels)
    if not whole or not fits or not len(labels):
        raise DatasetError(
            f"{extra.file}: image is {images.dtype} {list(images.shape)} and label {labels.dtype} "
            f"{list(labels.shape)}; wanted: uint8 [n, {height}, {width}, {channels}], integers [n]"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise DatasetError(
            f"{extra.file}: labels from {labels.min()} to {labels.max()}; there are {classes} "
            "classes, from 0"
        )
    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return Split(pixels, torch.from_numpy(labels.astype(np.int64)))


def mixed(
    images: Tensor, labels: Tensor, extra: Split, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return a batch whose last images are further ones, drawn with replacement.

    Args:
        images: [n, c, h, w] in [0,1].
        labels: [n].
        extra: The further images, on the same device.
        share: Of the batch that is replaced, to the nearest image.
        generator: Draws them, on the images' device.
    """
    count = round(share * len(labels))
    drawn = torch.randint(len(extra), (count,), generator=generator, device=labels.device)
    more, theirs = extra.batch(drawn)
    kept = len(labels) - count
    return torch.cat([images[:kept], more]), torch.cat([labels[:kept], theirs])
