"""What images are like, for a machine that need not have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from prune_core.data.raw import classes_of, read
from prune_core.data.splits import first_classes
from prune_core.errors import DatasetError
from prune_core.specs.images import Extra
from prune_core.specs.settings import Dataset

PUBLISHED = {
    "cifar10": (32, 10, 50_000, 10_000),
    "cifar100": (32, 100, 50_000, 10_000),
    "svhn": (32, 10, 73_257, 26_032),
    "tiny-imagenet": (64, 200, 100_000, 10_000),
}
"""Of data sets that are everywhere the same: the side of the images, classes, training images, test
images."""


def outline(spec: Dataset) -> tuple[tuple[int, int, int], int]:
    """Return the shape of a data set's images and the number of its classes; one is decoded.

    Raises:
        DatasetError: It is not here, and copies of it need not be alike.
    """
    if spec.name in PUBLISHED:
        side, classes, *_ = PUBLISHED[spec.name]
        side = spec.size or side
        return (3, side, side), classes_of(spec, classes)
    raw = read(spec)
    channels, height, width = raw.train.take(torch.tensor([0])).decode().images.shape[1:]
    return (channels, height, width), classes_of(spec, raw.classes)


def counted_images(spec: Dataset) -> tuple[int, int]:
    """Return how many images a data set has to train on, less those held out, and to test on.

    Raises:
        DatasetError: As `outline`.
    """
    if spec.name in PUBLISHED:
        _, there, *both = PUBLISHED[spec.name]
        classes = classes_of(spec, there)
        count, tested = (round(part * classes / there) for part in both)
    else:
        raw = read(spec)
        classes = classes_of(spec, raw.classes)
        whole = len(first_classes(raw.train, spec.classes))
        count = whole if raw.test is not None else round(0.75 * whole)
        tested = whole - count
        if raw.test is not None:
            tested = len(first_classes(raw.test, spec.classes))
    if spec.per_class is not None:
        count = min(count, spec.per_class * classes)
    if spec.test_per_class is not None:
        tested = min(tested, spec.test_per_class * classes)
    return round(count * (1 - spec.validation)), tested


def counted_extra(extra: Extra | None) -> int:
    """Return how many further images there are to train on; only their labels are read.

    Raises:
        DatasetError: Their file is not here, or has no labels.
    """
    if extra is None:
        return 0
    try:
        with np.load(Path(extra.file), allow_pickle=False) as held:
            return len(held["label"])
    except Exception as error:  # archives that are damaged or locked raise what they like
        raise DatasetError(f"{extra.file}: its labels cannot be counted: {error}") from error
