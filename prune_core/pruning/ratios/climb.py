"""The loss of a network as a function of the weights of one layer, and steps that raise it.

`Problem` holds the network and fixed adversarial images; `Climb` moves the weights of one layer
within a ball. The estimators of `prune_core.pruning.ratios.sensitivities` choose the steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_core.attacks.pgd import pgd
from prune_core.data.datasets import Dataset
from prune_core.data.splits import drawn
from prune_core.pruning.prunable.masks import mask_of, maskable
from prune_core.pruning.ratios.prefix import Prefix
from prune_core.specs.keys import derive_seed
from prune_core.specs.settings import Estimation
from prune_core.specs.stages import Sensitivity

STEP = 2.0
"""The length of a step as a multiple of the radius. It is constant, so that steps cross plateaus.
Steps this long turn quickly towards the gradient at the edge of the ball, where the loss is
highest."""
PARTS = 5
"""The number of batches that the images are divided into."""
SMALLEST = 128
"""The smallest number of images in a batch, except for the last."""

Batches = Sequence[tuple[Tensor, Tensor]]
"""Images [n, c, h, w] and labels [n] of each batch."""


@dataclass(frozen=True)
class Problem:
    """A network and adversarial images that were made against it.

    Attributes:
        network: The network, in eval mode.
        batches: Adversarial images and their labels.
        clean: The clean images that they were made from, and their labels.
        estimation: The settings of the estimation.
        key: Random restarts derive from it.
    """

    network: nn.Module
    batches: Batches
    clean: Batches
    estimation: Estimation
    key: str

    @cached_property
    def count(self) -> int:
        """The number of images."""
        return sum(len(labels) for _, labels in self.batches)

    @cached_property
    def start(self) -> tuple[tuple[float, ...], dict[str, Tensor]]:
        """The mean loss of each batch, and the gradient of the mean loss by each layer's weights.

        Both are of the network as it is. The first step of every layer uses the same pass.
        """
        weights = {n: m.get_parameter("weight") for n, m in maskable(self.network).items()}
        losses = []
        gradients = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        for images, labels in self.batches:
            loss = F.cross_entropy(self.network(images), labels, reduction="sum") / self.count
            parts = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
            for gradient, part in zip(gradients.values(), parts, strict=True):
                gradient += part
            losses.append(loss.item() * self.count / len(labels))
        return tuple(losses), gradients

    @cached_property
    def base_loss(self) -> float:
        """The mean adversarial loss of the network as it is."""
        sizes = [len(labels) for _, labels in self.batches]
        weighted = zip(self.start[0], sizes, strict=True)
        return sum(loss * size for loss, size in weighted) / self.count

    @cached_property
    def right(self) -> int:
        """The number of clean images that the network as it is classifies rightly."""
        return count_right(self.network, self.clean)

    def climb(self, layer: str) -> Climb:
        """Return a context in which the weights of one layer can be moved."""
        return Climb(self, layer)


@torch.no_grad()
def count_right(network: nn.Module, batches: Batches) -> int:
    """Count the images that a network classifies rightly."""
    return sum(int((network(images).argmax(1) == labels).sum()) for images, labels in batches)


def radius(weight: Tensor, estimation: Estimation) -> Tensor:
    """Return the radius of the ball in which a layer's weights move: a share of their norm."""
    matrix = weight.detach().flatten(1)
    spectral = estimation.norm == "spectral"
    norm: Tensor = torch.linalg.matrix_norm(matrix, ord=2) if spectral else matrix.norm()
    return estimation.epsilon * norm


class Climb:
    """A context in which the weights of one layer move within a ball around their origin.

    At its end the weights are as before. Only the context itself may run the network meanwhile.

    Args:
        problem: The network and the images.
        layer: The name of the layer; weights that are masked stay at zero.
    """

    def __init__(self, problem: Problem, layer: str):
        self._problem = problem
        self._base, gradients = problem.start  # before the prefix takes over the network
        self._first = gradients[layer]
        module = problem.network.get_submodule(layer)
        self._weight = module.get_parameter("weight")
        self._origin = self._weight.detach().clone()
        self._mask = mask_of(module) if hasattr(module, "mask") else None
        self._radius = radius(self._origin, problem.estimation)
        self._prefix = Prefix(problem.network, layer, [images for images, _ in problem.batches])
        self._every = range(len(problem.batches))
        self._layer = layer
        self._offset = torch.zeros_like(self._origin)

    def __enter__(self) -> Climb:
        self._prefix.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        with torch.no_grad():
            self._weight.copy_(self._origin)
        self._prefix.__exit__(None, None, None)

    def begin(self, restart: int) -> Tensor:
        """Move the weights to a start and return the gradient there, shaped as the weights.

        Restart 0 begins at the origin, all others at a random point half-way to the edge.
        """
        self._offset = torch.zeros_like(self._origin)
        if restart == 0:
            return self._first
        seed = derive_seed(self._problem.key, "restart", self._layer, restart)
        draw = torch.Generator().manual_seed(seed)
        noise = self._masked(
            torch.randn(self._origin.shape, generator=draw).to(self._origin.device)
        )
        self._offset = (0.5 * self._radius / noise.norm()) * noise
        return self.rise(self._every, slope=True)[1]

    def step(self, gradient: Tensor) -> bool:
        """Step along a gradient and back into the ball; return False if there is no direction."""
        gradient = self._masked(gradient)
        norm = gradient.norm()
        if not norm.isfinite() or norm == 0:
            return False
        offset = self._offset + (STEP * self._radius / norm) * gradient
        self._offset = offset * (self._radius / offset.norm()).clamp_max(1)
        return True

    def rise(
        self, batches: Sequence[int] | None = None, slope: bool = False
    ) -> tuple[float, Tensor]:
        """Return how much the mean loss has risen since the origin, and its gradient.

        Args:
            batches: Which batches count; None for all.
            slope: Whether to compute the gradient; otherwise it is zero.

        Returns:
            The rise in nats, infinite if the loss is not a number, and the gradient, shaped as the
            weights.
        """
        problem, every = self._problem, self._every if batches is None else batches
        count = sum(len(problem.batches[index][1]) for index in every)
        with torch.no_grad():
            self._weight.copy_(self._origin + self._offset)
        total, gradient = 0.0, torch.zeros_like(self._origin)
        for index in every:
            labels = problem.batches[index][1]
            with torch.set_grad_enabled(slope):
                loss = F.cross_entropy(self._prefix.logits(index), labels, reduction="sum") / count
            if slope:
                gradient += torch.autograd.grad(loss, self._weight)[0]
            total += loss.item() - self._base[index] * len(labels) / count
        return (total if math.isfinite(total) else math.inf), gradient

    def _masked(self, tensor: Tensor) -> Tensor:
        return tensor if self._mask is None else tensor * self._mask


def make_problem(network: nn.Module, data: Dataset, stage: Sensitivity) -> Problem:
    """Draw training images and attack them.

    Seeds derive from the network's key, so all estimators look at the same adversarial images.

    Args:
        network: A network in eval mode; it stays as it is.
        data: Only its training images are read.
        stage: The threat, and the settings of the estimation.
    """
    estimation, device, key = stage.estimation, data.train.labels.device, stage.network.key
    index = drawn(data.train.labels, estimation.samples, derive_seed(key, "sensitivity samples"))
    start = torch.Generator(device).manual_seed(derive_seed(key, "sensitivity attack"))
    size = max(SMALLEST, math.ceil(len(index) / PARTS))
    clean = list(data.train.take(index).batches(min(size, estimation.batch_size)))
    steps, threat = estimation.attack_steps, stage.threat
    batches = [(pgd(network, x, y, threat, steps, start), y) for x, y in clean]
    return Problem(network, batches, clean, estimation, stage.key)
