"""Data sets by name, each loaded whole onto one device.

A data set is a function ``(spec) -> Raw``. It reads its files through `prune_core.data.readers`.
Images stay uint8 and become floats in [0,1] batch by batch. Training, criteria and sensitivities
read only ``train`` and ``validation``; only the evaluation reads ``test``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from prune_core.data import readers
from prune_core.data.content import content
from prune_core.data.splits import Encoded, Part, Split, limit, split
from prune_core.errors import DatasetError
from prune_core.specs.keys import derive_seed
from prune_core.specs.registry import DATASETS, method
from prune_core.specs.settings import Dataset as DatasetSpec


@dataclass(frozen=True)
class Raw:
    """A data set as its function reads it.

    Attributes:
        train: The training images.
        test: The test images; None if they are to be cut off from ``train``.
        augment: Whether training flips and shifts images. Natural images allow it, digits do not.
        names: What the classes 0, 1, ... are called; empty where nothing says so.
    """

    train: Split | Encoded
    test: Split | Encoded | None = None
    augment: bool = False
    names: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.names) or int(self.train.labels.max()) + 1


@dataclass(frozen=True)
class Dataset:
    """A data set on a device, divided into its splits.

    Attributes:
        train: Images to train on; criteria and sensitivities read them too.
        validation: Training images that are held out.
        test: Images for the evaluation alone.
        classes: The number of classes.
        mean: The mean of each channel of ``train``, in [0,1].
        std: The standard deviation of each channel of ``train``, in [0,1].
        augment: Whether training flips and shifts images.
        names: What the classes are called in the files; empty where nothing says so.
    """

    train: Split
    validation: Split
    test: Split
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: bool
    names: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.train.shape
        return channels, height, width


def load(spec: DatasetSpec, device: torch.device, seed: int = 0) -> Dataset:
    """Return a data set on a device. A process keeps the last one and does not read it again.

    Args:
        spec: Which data set, where its files are, and how it is split and limited.
        device: Where all its images are kept.
        seed: The sweep's seed, which decides what is held out for validation if the split is by
            seed. The test split is the same for all seeds.

    Raises:
        DatasetError: If the data set is missing or damaged.
    """
    return _load(spec, device, str(seed) if spec.split == "by-seed" else None)


@lru_cache(maxsize=1)
def _load(spec: DatasetSpec, device: torch.device, seed: str | None = None) -> Dataset:
    if spec.content is not None and (found := content(spec)) != spec.content:
        raise DatasetError(
            f"the files in {spec.root} are {found}, and the plan is for {spec.content}: this "
            "machine has other images, or they were changed since; give every machine the same"
        )
    try:
        return _read(spec, device, seed)
    except OSError as error:
        raise DatasetError(
            f"{error.filename or spec.root}: cannot be read: {error.strerror or error}"
        ) from error


def _read(spec: DatasetSpec, device: torch.device, seed: str | None) -> Dataset:
    raw: Raw = DATASETS.load(spec.name)(spec)
    name = spec.name
    train, test = (
        (raw.train, raw.test) if raw.test is not None else split(raw.train, 0.25, name, "test")
    )
    # Only what is kept is decoded.
    kept = limit(train, spec.per_class, name, "train").decode()
    tested = test_part(test, spec).decode()
    purpose = (name, "validation") if seed is None else (name, seed, "validation")
    _check_sides(kept, tested, spec)
    if raw.classes < 2:
        raise DatasetError(
            f"{name} has {raw.classes} class, so that there is nothing to tell apart"
        )
    fitted, held_out = split(kept, spec.validation, *purpose)
    mean, std = _statistics(fitted)
    return Dataset(
        train=fitted.to(device),
        validation=held_out.to(device),
        test=tested.to(device),
        classes=raw.classes,
        mean=mean,
        std=std,
        augment=raw.augment,
        names=raw.names,
    )


def _check_sides(train: Split, test: Split, spec: DatasetSpec) -> None:
    """Refuse images of several sizes, and a size that no reader has heeded."""
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


def test_part(test: Part, spec: DatasetSpec) -> Part:
    """Return those test images that are evaluated; which they are depends on labels alone."""
    return limit(test, spec.test_per_class, spec.name, "test")


def _statistics(fitted: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
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


@method("digits", source="Alpaydin and Kaynak, 1998; shipped with scikit-learn")
def digits(spec: DatasetSpec) -> Raw:
    """1,797 handwritten digits, grey, 8x8; they need no download."""
    from sklearn.datasets import load_digits

    del spec
    images, labels = load_digits(return_X_y=True)
    pixels = np.rint(images * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    return Raw(Split(torch.from_numpy(pixels), torch.from_numpy(labels.astype(np.int64))))


@method("generated", source="for tests")
def generated(spec: DatasetSpec) -> Raw:
    """2,000 noisy copies of ten colour patterns, 8x8 or ``size``; they need no download."""
    side = spec.size or 8
    draw = torch.Generator().manual_seed(derive_seed("generated", side))
    coarse = torch.rand(10, 3, 4, 4, generator=draw)
    patterns = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    labels = torch.arange(2000) % 10
    noise = 0.15 * torch.randn(2000, 3, side, side, generator=draw)
    images = (patterns[labels] + noise).clamp(0, 1).mul(255).round().to(torch.uint8)
    return Raw(Split(images, labels), augment=False)


@method("cifar10", source="Krizhevsky, 2009", needs=("root",), traits=("torchvision", "parquet"))
def cifar10(spec: DatasetSpec) -> Raw:
    """60,000 natural images of 10 classes, 32x32."""
    return _standard(spec, "CIFAR10", "label")


@method("cifar100", source="Krizhevsky, 2009", needs=("root",), traits=("torchvision", "parquet"))
def cifar100(spec: DatasetSpec) -> Raw:
    """60,000 natural images of 100 classes, 32x32."""
    return _standard(spec, "CIFAR100", "fine_label")


@method("svhn", source="Netzer et al., 2011", needs=("root",), traits=("torchvision", "parquet"))
def svhn(spec: DatasetSpec) -> Raw:
    """99,289 digits of house numbers, 32x32; training neither flips nor shifts them."""
    return replace(_standard(spec, "SVHN", "label"), augment=False)


@method(
    "tiny-imagenet",
    source="Le and Yang, 2015",
    needs=("root",),
    traits=("folder", "parquet"),
)
def tiny_imagenet(spec: DatasetSpec) -> Raw:
    """120,000 natural images of 200 classes, 64x64; the validation images are the test split.

    With source ``folder``, root is the unpacked folder tiny-imagenet-200.
    """
    root = Path(str(spec.root))
    if spec.source == "parquet":
        return _from_parquet(spec)
    classes = readers.class_names(root / "train", "set root to the folder tiny-imagenet-200")
    train = readers.from_class_folders(root / "train", classes, spec.size, inner="images")
    test = readers.tiny_imagenet_validation(root, classes, spec.size)
    return Raw(train, test, True, tuple(classes))


@method(
    "imagefolder", source="torchvision's layout", needs=("root",), traits=("folder",), revision=2
)
def imagefolder(spec: DatasetSpec) -> Raw:
    """Your own images in train/<class>/ and test/<class>/; without test/, a part of train."""
    root = Path(str(spec.root))
    layout = "put images into train/<class>/ and test/<class>/ under root"
    classes = readers.class_names(root / "train", layout)
    train = readers.from_class_folders(root / "train", classes, spec.size)
    part = readers.test_folder(root)
    if part is None:
        return Raw(train, None, True, tuple(classes))
    if strangers := sorted(set(readers.class_names(part, layout)) ^ set(classes)):
        raise DatasetError(f"{part} and train differ in classes: {', '.join(strangers)}")
    if part.samefile(root / "train"):
        raise DatasetError(f"{part} and {root / 'train'} are one folder; give test images, or none")
    test = readers.from_class_folders(part, classes, spec.size)
    return Raw(train, test, True, tuple(classes))


@method(
    "parquet", source="the Hugging Face layout", needs=("root",), traits=("parquet",), revision=2
)
def parquet(spec: DatasetSpec) -> Raw:
    """Your own images in train*.parquet and test*.parquet; without test*, a part of train."""
    return _from_parquet(spec)


def _standard(spec: DatasetSpec, name: str, label: str) -> Raw:
    if spec.source == "parquet":
        return _from_parquet(spec, label)
    root = Path(str(spec.root))
    train, test = (readers.from_torchvision(name, root, part) for part in ("train", "test"))
    return Raw(train, test, augment=True)


def _from_parquet(spec: DatasetSpec, label: str = "label") -> Raw:
    from prune_core.data.parquet import from_parquet

    # Only a user's own data set may come without a test split: published ones have one.
    published = spec.name != "parquet"
    train, test, names = from_parquet(Path(str(spec.root)), spec.size, label, published)
    return Raw(train, test, True, names)
