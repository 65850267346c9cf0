"""What images are like, for a machine that need not have them."""

from __future__ import annotations

import torch

from prune_core.data.datasets import Raw
from prune_core.specs.registry import DATASETS
from prune_core.specs.settings import Dataset

PUBLISHED = {
    "cifar10": (32, 10),
    "cifar100": (32, 100),
    "svhn": (32, 10),
    "tiny-imagenet": (64, 200),
}
"""The side of the images and the classes of data sets that are everywhere the same."""


def outline(spec: Dataset) -> tuple[tuple[int, int, int], int]:
    """Return the shape of a data set's images and the number of its classes; one is decoded.

    Raises:
        DatasetError: It is not here, and copies of it need not be alike.
    """
    if spec.name in PUBLISHED:
        side, classes = PUBLISHED[spec.name]
        side = spec.size or side
        return (3, side, side), classes
    raw: Raw = DATASETS.load(spec.name)(spec)
    channels, height, width = raw.train.take(torch.tensor([0])).decode().images.shape[1:]
    return (channels, height, width), raw.classes
