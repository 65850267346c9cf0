"""Data sets by name, each loaded whole onto one device.

A data set is a function ``(spec) -> Raw``. It reads its files through `prune_core.data.readers`.
Images stay uint8 and become floats in [0,1] batch by batch. Training, criteria and sensitivities
read only ``train`` and ``validation``; only the evaluation reads ``test``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prune_core.data import augmentation, readers
from prune_core.data.augmentation import Augment
from prune_core.data.content import content, shared
from prune_core.data.extra import from_npz
from prune_core.data.raw import Raw, check_classes, classes_of, read, test_part
from prune_core.data.splits import Split, check_sides, first_classes, limit, split, statistics
from prune_core.errors import DatasetError
from prune_core.guard import heard, looked_at_test_images
from prune_core.specs.keys import derive_seed
from prune_core.specs.registry import DATASETS, method
from prune_core.specs.settings import Dataset as DatasetSpec

log = logging.getLogger(__name__)


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
        augment: What a batch of training images goes through.
        names: What the classes are called in the files; empty where nothing says so.
        extra: Further images for every batch of a training; None for none.
        extra_share: Their share of it.
    """

    train: Split
    validation: Split
    test: Split
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: Augment
    names: tuple[str, ...] = ()
    extra: Split | None = None
    extra_share: float = 0.0

    def __getattribute__(self, name: str) -> Any:
        """Return an attribute; a guard hears of looks at the test images."""
        if name == "test":
            looked_at_test_images()
        return super().__getattribute__(name)

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
    raw = read(spec)
    name, classes = spec.name, classes_of(spec, raw.classes)
    train, test = (
        (raw.train, raw.test) if raw.test is not None else split(raw.train, 0.25, name, "test")
    )
    # Only what is kept is decoded.
    with heard("datasets", name, DATASETS[name].keyed, spec.root):
        kept = limit(first_classes(train, spec.classes), spec.per_class, name, "train").decode()
        tested = test_part(test, spec).decode()
    purpose = (name, "validation") if seed is None else (name, seed, "validation")
    check_sides(kept, tested, spec)
    if raw.classes < 2:
        raise DatasetError(
            f"{name} has {raw.classes} class, so that there is nothing to tell apart"
        )
    fitted, held_out = split(kept, spec.validation, *purpose)
    called = [*raw.names[:classes], *map(str, range(len(raw.names), classes))]
    check_classes(spec, kept, fitted, tested, called)
    mean, std = statistics(fitted)
    channels, height, width = fitted.shape
    shape = (channels, height, width)
    extra = None if spec.extra is None else from_npz(spec.extra, shape, classes)
    return Dataset(
        train=fitted.to(device),
        validation=held_out.to(device),
        test=tested.to(device),
        classes=classes,
        mean=mean,
        std=std,
        augment=_augmentation(spec, raw, shape),
        names=raw.names[:classes],
        extra=extra and extra.to(device),
        extra_share=spec.extra.share if spec.extra else 0.0,
    )


def _augmentation(spec: DatasetSpec, raw: Raw, shape: tuple[int, int, int]) -> Augment:
    if spec.augment:
        return augmentation.named(spec.augment, shape)
    natural = raw.augment and spec.augment is None
    return augmentation.flip_and_shift if natural else augmentation.nothing


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


@method(
    "cifar10",
    source="Krizhevsky, 2009",
    needs=("root",),
    traits=("torchvision", "parquet", "arrow"),
)
def cifar10(spec: DatasetSpec) -> Raw:
    """60,000 natural images of 10 classes, 32x32."""
    return _standard(spec, "CIFAR10", "label")


@method(
    "cifar100",
    source="Krizhevsky, 2009",
    needs=("root",),
    traits=("torchvision", "parquet", "arrow"),
)
def cifar100(spec: DatasetSpec) -> Raw:
    """60,000 natural images of 100 classes, 32x32."""
    return _standard(spec, "CIFAR100", "fine_label")


@method(
    "svhn",
    source="Netzer et al., 2011",
    needs=("root",),
    traits=("torchvision", "parquet", "arrow"),
)
def svhn(spec: DatasetSpec) -> Raw:
    """99,289 digits of house numbers, 32x32; training neither flips nor shifts them."""
    return replace(_standard(spec, "SVHN", "label"), augment=False)


@method(
    "tiny-imagenet",
    source="Le and Yang, 2015",
    needs=("root",),
    traits=("folder", "parquet", "arrow"),
)
def tiny_imagenet(spec: DatasetSpec) -> Raw:
    """120,000 natural images of 200 classes, 64x64; the validation images are the test split.

    With source ``folder``, root is the unpacked folder tiny-imagenet-200.
    """
    root = Path(str(spec.root))
    if spec.source in ("parquet", "arrow"):
        return _from_tables(spec)
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
        raise DatasetError(f"{part} and train differ in classes: {str(strangers)[1:-1]}")
    if part.samefile(root / "train"):
        raise DatasetError(f"{part} and {root / 'train'} are one folder; give test images, or none")
    test = readers.from_class_folders(part, classes, spec.size)
    if twice := shared(spec, part.name, "train"):
        log.warning(
            "%s: files of %s that train has too: %d (%s is %s, ...)",
            root, part.name, len(twice), *twice[0],
        )  # fmt: skip
    return Raw(train, test, True, tuple(classes))


@method(
    "parquet", source="the Hugging Face layout", needs=("root",), traits=("parquet",), revision=2
)
def parquet(spec: DatasetSpec) -> Raw:
    """Your own images in train*.parquet and test*.parquet; without test*, a part of train."""
    return _from_tables(spec)


@method("arrow", source="Hugging Face datasets", needs=("root",), traits=("arrow",))
def arrow(spec: DatasetSpec) -> Raw:
    """Your own images as save_to_disk of Hugging Face wrote them; without test, a part of train."""
    return _from_tables(spec)


def _standard(spec: DatasetSpec, name: str, label: str) -> Raw:
    if spec.source in ("parquet", "arrow"):
        return _from_tables(spec, label)
    root = Path(str(spec.root))
    train, test = (readers.from_torchvision(name, root, part) for part in ("train", "test"))
    return Raw(train, test, augment=True)


def _from_tables(spec: DatasetSpec, label: str = "label") -> Raw:
    from prune_core.data.parquet import from_tables

    # Only a user's own data set may come without a test split: published ones have one.
    published = spec.name not in ("parquet", "arrow")
    train, test, names = from_tables(
        Path(str(spec.root)), spec.size, label, published, spec.source == "arrow"
    )
    return Raw(train, test, True, names)
