"""Data sets: whole splits held as uint8 on one device.

A data set is a function ``(root, source) -> Raw``. Images are uint8, NCHW, 0 to 255; they become
floats in [0,1] batch by batch. Splits are the same for every seed, so that any two networks are
measured on the same test images. Criteria, sensitivities and training read ``train`` (and
``validation``) alone; ``test`` is read by the evaluation alone.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from prune_core.identity import derive_seed
from prune_core.registry import DATASETS, method
from prune_core.specs import Dataset as DatasetSpec


class DatasetError(RuntimeError):
    """A data set that is missing or damaged; the message says what to do."""


@dataclass(frozen=True)
class Split:
    """Images [n, c, h, w] as uint8 and labels [n] as int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Return images as floats in [0,1] and labels."""
        return self.images[index].float().div_(255), self.labels[index]

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through the whole split in its order."""
        for start in range(0, len(self), size):
            yield self.batch(slice(start, start + size))

    def take(self, index: Tensor) -> Split:
        """Return the examples at ``index``."""
        return Split(self.images[index], self.labels[index])

    def to(self, device: torch.device) -> Split:
        """Return the split on ``device``."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Raw:
    """A data set as its function reads it; without a test split, one is cut from ``train``."""

    train: Split
    test: Split | None = None
    augment: bool = False
    """Whether training flips and shifts images (natural images: yes; digits: no)."""


@dataclass(frozen=True)
class Dataset:
    """A data set, split, on a device, with the statistics for the normalisation layer."""

    train: Split
    validation: Split
    test: Split
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


def load(spec: DatasetSpec, device: torch.device) -> Dataset:
    """Read, split and move a data set; what one process has read, it does not read again."""
    return _load(spec.name, spec.root, spec.source, spec.validation, device)


@lru_cache(maxsize=1)
def _load(
    name: str, root: str | None, source: str, validation: float, device: torch.device
) -> Dataset:
    raw: Raw = DATASETS.load(name)(root, source)
    train, test = (
        (raw.train, raw.test) if raw.test is not None else split(raw.train, 0.25, name, "test")
    )
    train, held_out = split(train, validation, name, "validation")
    mean, std = _statistics(train.images)
    return Dataset(
        train=train.to(device),
        validation=held_out.to(device),
        test=test.to(device),
        classes=int(raw.train.labels.max()) + 1,
        mean=mean,
        std=std,
        augment=raw.augment,
    )


def _statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation by channel, in [0,1].

    Sums are taken over integers, and so exact: they depend on no order and no number of threads.
    """
    by_channel = images.transpose(0, 1).flatten(1).long()
    count = by_channel.shape[1]
    sums, squares = by_channel.sum(1).tolist(), by_channel.square().sum(1).tolist()
    means = [total / count for total in sums]
    deviations = [
        math.sqrt(max(square / count - mean**2, 0.0))
        for square, mean in zip(squares, means, strict=True)
    ]
    return tuple(m / 255 for m in means), tuple(max(d / 255, 1e-3) for d in deviations)


def split(whole: Split, share: float, *purpose: str) -> tuple[Split, Split]:
    """Cut off a stratified share; which examples it holds depends on ``purpose`` alone."""
    generator = torch.Generator().manual_seed(derive_seed("split", *purpose))
    order = torch.randperm(len(whole), generator=generator)
    labels = whole.labels[order]
    held_out = torch.zeros(len(whole), dtype=torch.bool)
    for label in range(int(labels.max()) + 1):
        of_label = order[labels == label]
        held_out[of_label[: round(share * len(of_label))]] = True
    return whole.take(~held_out), whole.take(held_out)


@method("digits", source="Alpaydin and Kaynak, 1998; shipped with scikit-learn")
def digits(root: str | None, source: str) -> Raw:
    """1,797 handwritten digits, 8x8 grey; needs no download."""
    from sklearn.datasets import load_digits

    del root, source
    images, labels = load_digits(return_X_y=True)
    pixels = np.rint(images * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    return Raw(Split(torch.from_numpy(pixels), torch.from_numpy(labels.astype(np.int64))))


@method("cifar10", source="Krizhevsky, 2009", needs=("root",))
def cifar10(root: str | None, source: str) -> Raw:
    """60,000 natural images of 10 classes, 32x32, from torchvision's files or from Parquet."""
    folder = Path(str(root))
    read = _from_parquet if source == "parquet" else _from_torchvision
    return Raw(read(folder, "train"), read(folder, "test"), augment=True)


def _from_parquet(root: Path, part: str) -> Split:
    """Read the Hugging Face layout: a struct of encoded bytes, and an integer label, a row."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    files = sorted(root.glob(f"{part}*.parquet"))
    if not files:
        raise DatasetError(f"no {part}*.parquet in {root}; give the folder that holds them as root")
    try:
        table = pa.concat_tables(pq.read_table(file) for file in files)
        column = next(name for name in ("img", "image") if name in table.column_names)
        images = [
            np.asarray(Image.open(io.BytesIO(row["bytes"])).convert("RGB"))
            for row in table[column].to_pylist()
        ]
        labels = table["label"].to_numpy().astype(np.int64)
    except (OSError, StopIteration, KeyError, pa.ArrowInvalid) as error:
        raise DatasetError(f"{files[0].name} in {root} cannot be read: {error}") from error
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return Split(pixels, torch.from_numpy(labels))


def _from_torchvision(root: Path, part: str) -> Split:
    from torchvision.datasets import CIFAR10

    try:
        found = CIFAR10(str(root), train=part == "train", download=False)
    except RuntimeError as error:
        raise DatasetError(
            f"no CIFAR-10 as torchvision keeps it in {root}; fetch it once with "
            f"torchvision.datasets.CIFAR10({str(root)!r}, download=True)"
        ) from error
    pixels = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()
    return Split(pixels, torch.tensor(found.targets, dtype=torch.int64))
