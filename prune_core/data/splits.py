"""Splits: images with their labels, held as uint8 on one device, and how a split is divided.

Which images are test images depends on the name of the data set alone and on no seed, so any two
networks are measured on the same ones. So do validation images, unless the data set is split by
seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prune_core.errors import DatasetError
from prune_core.specs.keys import derive_seed
from prune_core.specs.settings import Dataset


def divided(order: Tensor, size: int) -> list[Tensor]:
    """Divide positions [n] into batches; a last one of one image joins the one before it.

    BatchNorm cannot normalise a single value, as the last layers of many networks have it.
    """
    batches = list(torch.split(order, size))
    if len(batches) > 1 and len(batches[-1]) == 1 < len(batches[-2]):
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


@dataclass(frozen=True)
class Split:
    """Images [n, c, h, w] as uint8 from 0 to 255, and labels [n] as int64.

    A part of a split copies no image: it shares those of the whole, which may be pages of this
    machine's cache that many processes share, until it is moved to another device.
    """

    pixels: Tensor
    """Images [all, c, h, w], the split's among them."""
    labels: Tensor
    positions: Tensor | None = None
    """Of the split's images among ``pixels`` [n]; None if it has all, in their order."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Tensor:
        """The images; a copy, unless the split has all of ``pixels``."""
        return self.pixels if self.positions is None else self.pixels[self.positions]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an image."""
        return tuple(self.pixels.shape[1:])

    def batch(self, index: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Return some images, as floats in [0,1], and their labels."""
        where = index if self.positions is None else self.positions[index]
        return self.pixels[where].float().div_(255), self.labels[index]

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the whole split in its order, ``size`` images at a time; the last may be fewer."""
        for start in range(0, len(self), size):
            yield self.batch(slice(start, start + size))

    def take(self, index: Tensor) -> Split:
        """Return the images and labels at ``index``: positions, or a mask [n]."""
        every = self.positions
        if every is None:
            every = torch.arange(len(self), device=self.labels.device)
        return Split(self.pixels, self.labels[index], every[index])

    def decode(self) -> Split:
        """Return the split: its images are decoded."""
        return self

    def to(self, device: torch.device) -> Split:
        """Return the split on ``device``."""
        if self.pixels.device == device:
            return self
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Encoded:
    """Images that are not decoded yet, with their labels [n]: only those that are taken will be."""

    labels: Tensor
    positions: Tensor
    """Of the images among all of the source, [n]."""
    read: Callable[[NDArray[np.int64]], NDArray[np.uint8]]
    """Decodes the images at some positions, as [n, c, h, w]."""

    @classmethod
    def of(cls, labels: NDArray[np.int64], read: Callable[..., NDArray[np.uint8]]) -> Encoded:
        """Return all images of a source."""
        return cls(torch.from_numpy(labels), torch.arange(len(labels)), read)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> Encoded:
        """Return the images and labels at ``index``: positions, or a mask [n]."""
        return Encoded(self.labels[index], self.positions[index], self.read)

    def decode(self) -> Split:
        """Return the images decoded.

        Raises:
            DatasetError: One cannot be.
        """
        return Split(torch.from_numpy(self.read(self.positions.numpy())), self.labels)


class Divisible(Protocol):
    """What can be divided by its labels."""

    @property
    def labels(self) -> Tensor:
        """Labels [n]."""

    def __len__(self) -> int: ...

    def take(self, index: Tensor) -> Self:
        """Return the part at ``index``."""


Part = TypeVar("Part", bound=Divisible)


def split(whole: Part, share: float, *purpose: str) -> tuple[Part, Part]:
    """Divide a split in two, with the same share of every class.

    Args:
        whole: The split to divide.
        share: The share of the images, in [0,1], that the second part gets.
        purpose: What the part is for. The choice of images depends on it and on nothing else.

    Returns:
        The rest and the part that was cut off, both in the order of ``whole``.

    Raises:
        DatasetError: There are too few images for both parts.
    """
    generator = torch.Generator().manual_seed(derive_seed("split", *purpose))
    order = torch.randperm(len(whole), generator=generator)
    labels = whole.labels[order]
    held_out = torch.zeros(len(whole), dtype=torch.bool)
    for label in range(int(labels.max()) + 1):
        of_label = order[labels == label]
        held_out[of_label[: round(share * len(of_label))]] = True
    if held_out.all() or not held_out.any():
        counts = whole.labels.bincount()
        fewest, most = int(counts[counts > 0].min()), int(counts.max())
        images = f"{fewest} to {most} images" if fewest < most else f"{most} images"
        raise DatasetError(
            f"too few images for a {purpose[-1]} split: a share {share} of {images} a class is "
            f"{'all' if held_out.all() else 'none'}; give more images, or another share"
        )
    return whole.take(~held_out), whole.take(held_out)


def first_classes(whole: Part, classes: int | None) -> Part:
    """Return the images of the first so many classes, in the order of ``whole``; None for all."""
    return whole if classes is None else whole.take(whole.labels < classes)


def limit(whole: Part, per_class: int | None, *purpose: str) -> Part:
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


def drawn(labels: Tensor, count: int, seed: int) -> Tensor:
    """Return positions of a random sample in which every class has its share.

    Images of a class are shuffled and spread evenly from 0 to 1; the sample takes all images in
    that order. So does any beginning of it, which is why the first batch is a sample too. Shares
    are rounded as by Sainte-Lague; among equal classes, chance decides which has one more.

    Args:
        labels: The classes of the split's images [n], in any order.
        count: The size of the sample; all images if there are fewer.
        seed: The choice depends on it.

    Returns:
        Positions in the split [min(count, n)], on the device of the labels, in the order drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    shuffled = labels.cpu()[order]
    sizes = shuffled.bincount()
    by_class = shuffled.argsort(stable=True)
    rank = torch.empty_like(by_class)
    rank[by_class] = torch.arange(len(labels)) - (sizes.cumsum(0) - sizes)[shuffled[by_class]]
    place = (rank.double() + 0.5) / sizes[shuffled]
    return order[place.argsort(stable=True)[:count]].to(labels.device)


def statistics(fitted: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation of each channel, in [0,1].

    From the count of each of the 256 levels. Sums of integers are exact, so neither order nor
    number of threads changes them.
    """
    counts = torch.zeros(fitted.shape[0], 256, dtype=torch.int64)
    for start in range(0, len(fitted), 4096):  # a copy of all would double the memory
        some = slice(start, start + 4096)
        where = some if fitted.positions is None else fitted.positions[some]
        for channel, levels in enumerate(fitted.pixels[where].unbind(1)):
            counts[channel] += levels.flatten().bincount(minlength=256)
    level = torch.arange(256)
    count = int(counts[0].sum())
    sums, squares = (counts * level).sum(1).tolist(), (counts * level**2).sum(1).tolist()
    means = [total / count for total in sums]
    deviations = [
        math.sqrt(max(square / count - mean**2, 0.0))
        for square, mean in zip(squares, means, strict=True)
    ]
    return tuple(m / 255 for m in means), tuple(max(d / 255, 1e-3) for d in deviations)


def check_sides(train: Split, test: Split, spec: Dataset) -> None:
    """Refuse images of several sizes, and a size that no reader has heeded.

    Raises:
        DatasetError: It says which.
    """
    if train.shape[0] != test.shape[0]:
        raise DatasetError(
            f"images of {spec.name} differ: {train.shape[0]} channels for training, "
            f"{test.shape[0]} in the test split"
        )
    sides = [part.shape[1:] for part in (train, test)]
    if sides[0] != sides[1]:
        (height, width), (other, wide) = sides
        raise DatasetError(
            f"images of {spec.name} differ in size: {width}x{height} for training, {wide}x{other} "
            "in the test split; set dataset.size to resize them"
        )
    if spec.size and sides[0] != (spec.size, spec.size):
        height, width = sides[0]
        raise DatasetError(
            f"images of {spec.name} from source {spec.source} are {width}x{height} and cannot be "
            "resized; leave out dataset.size"
        )
