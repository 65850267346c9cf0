"""Corrupted copies of test images, from a folder laid out as CIFAR-10-C.

It holds a file for each corruption, such as ``fog.npy``: [5 n, h, w, c] as uint8, the n test images
in their order at severity 1, then at severity 2, and so on; and ``labels.npy``, their labels.

Source:
    Hendrycks and Dietterich, 2019 (arXiv 1903.12261).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from prune_core.data.datasets import Dataset
from prune_core.data.raw import read, test_part
from prune_core.data.splits import Split
from prune_core.errors import DatasetError
from prune_core.specs.registry import ATTACKS
from prune_core.specs.settings import Dataset as DatasetSpec

SEVERITIES = 5


def test_images(data: Dataset, spec: DatasetSpec, attack: str) -> Split:
    """Return what an attack is evaluated on: the test images, or their corrupted copies.

    Args:
        data: The data set.
        spec: Where its files are, and how its test split is limited.
        attack: The name of the attack.

    Raises:
        DatasetError: The files of corrupted copies are missing, damaged, or of other images.
    """
    file = spec.corrupted_file(attack)
    if file is None:
        return data.test
    labels, images = _checked(data, spec, file)
    severity = int(ATTACKS.arguments(attack)["severity"])
    positions = test_part(Split(torch.arange(len(labels)), labels), spec).images.numpy()
    chosen = images[(severity - 1) * len(labels) + positions]
    side = data.shape[1:]
    if chosen.shape[1:3] != side:
        size = side[1], side[0]
        resized = [Image.fromarray(i).resize(size, Image.Resampling.BILINEAR) for i in chosen]
        chosen = np.stack([np.asarray(image) for image in resized])
    pixels = torch.from_numpy(np.ascontiguousarray(chosen.transpose(0, 3, 1, 2)))
    return Split(pixels.to(data.test.labels.device), data.test.labels)


def faults(data: Dataset, spec: DatasetSpec, attacks: tuple[str, ...]) -> list[str]:
    """Return a sentence for each attack's files that cannot be read or are of other images."""
    found: dict[str, None] = {}
    for file in filter(None, map(spec.corrupted_file, attacks)):
        try:
            _checked(data, spec, file)
        except DatasetError as error:
            found[str(error)] = None
    return list(found)


def _checked(
    data: Dataset, spec: DatasetSpec, file: Path
) -> tuple[torch.Tensor, NDArray[np.uint8]]:
    """Return the labels [n] of all test images, and their corrupted copies [5 n, h, w, c]."""
    raw = read(spec)
    if raw.test is None:
        raise DatasetError(
            f"data set {spec.name!r} comes without test images of its own, so {file.parent} cannot "
            "hold corrupted copies of them"
        )
    labels = raw.test.labels
    theirs, images = _read(file.with_name("labels.npy")), _read(file)
    if not np.array_equal(theirs, np.tile(labels.numpy(), SEVERITIES)):
        raise DatasetError(
            f"{file.with_name('labels.npy')} does not hold the labels of the {len(labels)} test "
            f"images of {spec.name!r} in their order, once for each of {SEVERITIES} severities; "
            "give the folder that was made of these (a mirror may hold images in another order)"
        )
    channels, *side = data.shape
    wanted = [SEVERITIES * len(labels), *(images.shape[1:3] if spec.size else side), channels]
    if images.dtype != np.uint8 or list(images.shape) != wanted:
        shapes = "x".join(map(str, images.shape)), "x".join(map(str, wanted))
        raise DatasetError(
            f"{file} holds {images.dtype} of shape {shapes[0]}, not uint8 of shape {shapes[1]}"
        )
    return labels, images


def _read(file: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.lib.format.open_memmap(file, mode="r")
    except FileNotFoundError as error:
        raise DatasetError(f"no {file}; set dataset.corrupted to the folder that has it") from error
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{file} cannot be read ({error}); fetch it again") from error
    return array
