"""A data set as its function reads it, and what is taken of it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from prune_core.data.splits import Encoded, Part, Split, first_classes, limit
from prune_core.errors import DatasetError, PruneCoreError
from prune_core.specs.registry import DATASETS
from prune_core.specs.settings import Dataset

log = logging.getLogger(__name__)


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


def read(spec: Dataset) -> Raw:
    """Return a data set as its function reads it, checked: the function may be the user's own.

    Raises:
        DatasetError: It cannot be read, or what was read is no data set.
    """
    try:
        raw: Raw = DATASETS.load(spec.name)(spec)
    except (PruneCoreError, OSError, MemoryError):
        raise
    except Exception as error:
        if spec.is_ours:
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise DatasetError(
            f"data set {spec.name!r} cannot be read: {type(error).__name__}: {error} "
            f"({Path(last.filename).name}:{last.lineno})"
        ) from error
    if faults := list(_faults(raw)) or list(_class_faults(raw)):
        raise DatasetError(
            f"data set {spec.name!r} cannot be used: {'; '.join(faults)}; wanted: a Raw of Splits, "
            "images [n, channels, height, width] as uint8, with labels [n] from 0 as int64"
        )
    return raw


def _faults(raw: object) -> Iterator[str]:
    if not isinstance(raw, Raw):
        yield f"its function gives a {type(raw).__name__}"
        return
    parts = {"train": raw.train, **({} if raw.test is None else {"test": raw.test})}
    for name, part in parts.items():
        if isinstance(part, Split | Encoded):
            yield from (f"{name} has {fault}" for fault in _part_faults(part))
        else:
            yield f"{name} is a {type(part).__name__}"
    if not all(isinstance(name, str) for name in raw.names):
        yield f"names are {raw.names!r}"


def _class_faults(raw: Raw) -> Iterator[str]:
    for name, part in (("train", raw.train), ("test", raw.test)):
        if part is not None and (highest := int(part.labels.max())) >= raw.classes:
            known = "there are names for" if raw.names else "train has"
            yield f"{name} has labels up to {highest}, and {known} {raw.classes} classes"


def _part_faults(part: Split | Encoded) -> Iterator[str]:
    labels = part.labels
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.dim() != 1:
        yield f"labels that are {_described(labels)}"
    elif not len(labels):
        yield "no images"
    elif labels.min() < 0:
        yield f"labels below 0: {int((labels < 0).sum())} of {len(labels)}"
    if isinstance(part, Encoded):
        return
    pixels = part.pixels
    if not isinstance(pixels, Tensor) or pixels.dtype != torch.uint8 or pixels.dim() != 4:
        yield f"images that are {_described(pixels)}"
        return
    if pixels.shape[3] < 4 <= pixels.shape[1]:
        yield f"images {list(pixels.shape)}, with their channels last"
    count = len(pixels if part.positions is None else part.positions)
    if isinstance(labels, Tensor) and labels.dim() and count != len(labels):
        yield f"{count} images and {len(labels)} labels"


def _described(array: object) -> str:
    shape, kind = getattr(array, "shape", None), str(getattr(array, "dtype", ""))
    described = f" {kind.removeprefix('torch.')} {list(shape)}" if shape is not None else ""
    return f"a {type(array).__name__}{described}"


def classes_of(spec: Dataset, there: int) -> int:
    """Return how many classes are used of those that are there.

    Raises:
        DatasetError: More are asked for.
    """
    if (spec.classes or 0) > there:
        raise DatasetError(
            f"{spec.name} has {there} classes, and dataset.classes asks for {spec.classes}"
        )
    return spec.classes or there


def test_part(test: Part, spec: Dataset) -> Part:
    """Return those test images that are evaluated; which they are depends on labels alone."""
    return limit(first_classes(test, spec.classes), spec.test_per_class, spec.name, "test")


def check_classes(
    spec: Dataset, kept: Split, fitted: Split, tested: Split, called: Sequence[str]
) -> None:
    """Refuse classes of which nothing is left to train on; warn of those that lack images.

    Args:
        spec: The data set.
        kept: All images that are not for tests.
        fitted: Those of them that are trained on.
        tested: The test images.
        called: What the classes 0, 1, ... are called.

    Raises:
        DatasetError: Images are held out whole, or a split has but one class.
    """
    parts = {"training": kept, "trained": fitted, "test": tested}
    counts = {name: part.labels.bincount(minlength=len(called)) for name, part in parts.items()}
    lost = [called[i] for i in torch.nonzero((counts["trained"] == 0) & (counts["training"] > 0))]
    if lost:
        raise DatasetError(
            f"dataset.validation {spec.validation} holds out all training images of "
            f"{_listed(lost)} ({int(counts['training'][counts['trained'] == 0].max())} a class at "
            "most); give more images, or a lower share"
        )
    for name in ("training", "test"):
        if lacking := [called[i] for i in torch.nonzero(counts[name] == 0)]:
            there = f"{spec.name}: classes without {name} images: {len(lacking)} of {len(called)}"
            if len(called) - len(lacking) < 2:
                raise DatasetError(
                    f"{there}, so that there is nothing to tell apart ({len(parts[name])} images)"
                )
            log.warning("%s (%s)", there, _listed(lacking))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
