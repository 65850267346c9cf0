"""A data set as its function reads it, and what is taken of it."""

from __future__ import annotations

from dataclasses import dataclass

from prune_core.data.splits import Encoded, Part, Split, first_classes, limit
from prune_core.errors import DatasetError
from prune_core.specs.settings import Dataset


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
