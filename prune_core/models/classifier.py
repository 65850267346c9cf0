"""A network with its normalisation in front: what every architecture is built into."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from prune_core.errors import CheckpointError
from prune_core.specs.checkpoints import Constants


class Normalise(nn.Module):
    """A layer that normalises images in [0,1].

    Args:
        mean: The mean of each channel, in [0,1].
        std: The standard deviation of each channel, in [0,1].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return normalised images [n, c, h, w]."""
        return (images - self.mean) / self.std


class Classifier(nn.Module):
    """A network with its normalisation in front: it takes images in [0,1].

    Args:
        normalise: The first layer.
        network: Takes normalised images and returns logits [n, classes].
    """

    def __init__(self, normalise: Normalise, network: nn.Module):
        super().__init__()
        self.normalise = normalise
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [n, classes] of images [n, c, h, w] in [0,1]."""
        logits: Tensor = self.network(self.normalise(images))
        return logits


def normalisation(
    asked: Literal["none"] | Constants | None, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std of what is asked for: the data set's where it is None.

    Raises:
        CheckpointError: Constants are of other channels than the images.
    """
    if asked is None:
        return mean, std
    if asked == "none":
        return (0.0,) * len(mean), (1.0,) * len(mean)
    if len(asked.mean) != len(mean):
        raise CheckpointError(
            f"normalise has constants for {len(asked.mean)} channels; images have {len(mean)}"
        )
    return asked.mean, asked.std
