"""Splits: images with their labels, held as uint8 on one device, and how a split is divided.

Which images end up where depends on the name of the data set alone and on no seed, so any two
networks are measured on the same test images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from prune_core.specs.keys import derive_seed


@dataclass(frozen=True)
class Split:
    """Images [n, c, h, w] as uint8 from 0 to 255, and labels [n] as int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Return some images, as floats in [0,1], and their labels."""
        return self.images[index].float().div_(255), self.labels[index]

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the whole split in its order, ``size`` images at a time; the last may be fewer."""
        for start in range(0, len(self), size):
            yield self.batch(slice(start, start + size))

    def take(self, index: Tensor) -> Split:
        """Return the images and labels at ``index``: positions, or a mask [n]."""
        return Split(self.images[index], self.labels[index])

    def to(self, device: torch.device) -> Split:
        """Return the split on ``device``."""
        return Split(self.images.to(device), self.labels.to(device))


def split(whole: Split, share: float, *purpose: str) -> tuple[Split, Split]:
    """Divide a split in two, with the same share of every class.

    Args:
        whole: The split to divide.
        share: The share of the images, in [0,1], that the second part gets.
        purpose: What the part is for. The choice of images depends on it and on nothing else.

    Returns:
        The rest and the part that was cut off, both in the order of ``whole``.
    """
    generator = torch.Generator().manual_seed(derive_seed("split", *purpose))
    order = torch.randperm(len(whole), generator=generator)
    labels = whole.labels[order]
    held_out = torch.zeros(len(whole), dtype=torch.bool)
    for label in range(int(labels.max()) + 1):
        of_label = order[labels == label]
        held_out[of_label[: round(share * len(of_label))]] = True
    return whole.take(~held_out), whole.take(held_out)


def limit(whole: Split, per_class: int | None, *purpose: str) -> Split:
    """Return at most ``per_class`` images of every class, in the order of ``whole``.

    Args:
        whole: The split to choose from.
        per_class: The largest number of images of a class; None for all of them.
        purpose: What the images are for. The choice depends on it and on nothing else.
    """
    if per_class is None:
        return whole
    generator = torch.Generator().manual_seed(derive_seed("limit", *purpose))
    order = torch.randperm(len(whole), generator=generator)
    labels = whole.labels[order]
    kept = [order[labels == label][:per_class] for label in range(int(labels.max()) + 1)]
    return whole.take(torch.cat(kept).sort().values)
