"""Sensitivities: how much a layer's weights matter to a loss.

MRS here is our definition, derived from RiFT's module robust criticality (Zhu et al., 2023, arXiv
2308.02533), since the formula of arXiv 2410.15176 is not public: the largest rise of the
adversarial loss, on a fixed adversarial set from *training* data, over perturbations of that
layer's weights alone within epsilon times their norm. Unlike RiFT's code, every step is projected,
the test split is not touched, the ascent is restarted, and a loss that is not a number counts as
infinite. A module's MRS is the largest of the layers that make it.

An estimator is a function ``(problem, layer) -> rises``, one rise a restart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_core.attacks.pgd import pgd
from prune_core.data.datasets import Dataset
from prune_core.models.state import evaluating
from prune_core.pruning.groups import PrunableModule
from prune_core.pruning.masks import mask_of, maskable
from prune_core.pruning.prefix import Prefix
from prune_core.specs.keys import derive_seed
from prune_core.specs.registry import SENSITIVITIES, method
from prune_core.specs.settings import Estimation
from prune_core.specs.stages import Sensitivity

STEP = 2.0
"""Length of a step, as a multiple of the radius; constant, so that plateaus are crossed. Steps this
long turn fast towards the gradient at the ball's edge, where the largest rise is."""
PARTS, SMALLEST = 5, 128
"""Batches that the images are dealt into, and images of a batch at least."""
STILL_RISING = 1.1
"""The few-step estimate goes on while the loss rises by this factor from one pair of steps to the
next."""

Batches = Sequence[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class LayerSensitivity:
    """The rise of the loss for one layer: the largest, and that of every restart."""

    value: float
    restarts: tuple[float, ...]

    @property
    def spread(self) -> float:
        """How far the restarts lie apart."""
        low, high = min(self.restarts), max(self.restarts)
        return 0.0 if low == high else high - low


@dataclass(frozen=True)
class Problem:
    """A network in eval mode and an adversarial set made against it."""

    network: nn.Module
    batches: Batches
    """Adversarial images and their labels."""
    clean: Batches
    """The images that they were made from."""
    estimation: Estimation
    key: str

    @cached_property
    def count(self) -> int:
        """How many images there are."""
        return sum(len(labels) for _, labels in self.batches)

    @cached_property
    def start(self) -> tuple[tuple[float, ...], dict[str, Tensor]]:
        """The mean loss of each batch for the network as it is, and the gradient of their mean.

        The gradient is by every layer's weight: one pass serves the first step of every layer.
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

    def climb(self, layer: str) -> _Climb:
        """Return the loss as a function of one layer's weight; a context."""
        return _Climb(self, layer)


class _Climb:
    """A walk of one layer's weight within its ball, uphill; restores the weight at its end."""

    def __init__(self, problem: Problem, layer: str):
        self._problem = problem
        self._base, gradients = problem.start  # before the prefix takes over the network
        self._first = gradients[layer]
        module = problem.network.get_submodule(layer)
        self._weight = module.get_parameter("weight")
        self._origin = self._weight.detach().clone()
        self._mask = mask_of(module) if hasattr(module, "mask") else None
        self._radius = problem.estimation.epsilon * self._origin.norm()
        self._prefix = Prefix(problem.network, layer, [images for images, _ in problem.batches])
        self._every = range(len(problem.batches))
        self._layer = layer
        self._offset = torch.zeros_like(self._origin)

    def __enter__(self) -> _Climb:
        self._prefix.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        with torch.no_grad():
            self._weight.copy_(self._origin)
        self._prefix.__exit__(None, None, None)

    def begin(self, restart: int) -> Tensor:
        """Go to a starting point and return the gradient there.

        The first restart begins at the weights, the others half-way to the ball's edge.
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
        """Step along a gradient and back into the ball; say whether there was a way to go."""
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
        """Return the rise of the mean loss on some batches (else all), and its gradient.

        The gradient is zero where ``slope`` does not ask for it. A loss that is not a number is an
        infinite rise.
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


@method("mrs", source="ours, derived from RiFT (arXiv 2308.02533)", traits=("exact",))
def mrs(problem: Problem, layer: str) -> list[float]:
    """Exact MRS: projected gradient ascent with ``steps`` steps, restarted ``restarts`` times."""
    estimation = problem.estimation
    rises = []
    with problem.climb(layer) as climb:
        for restart in range(estimation.restarts):
            gradient, highest = climb.begin(restart), 0.0
            for step in range(1, estimation.steps + 1):
                if not climb.step(gradient):
                    break
                rise, gradient = climb.rise(slope=step < estimation.steps)
                highest = max(highest, rise)
            rises.append(highest)
    return rises


@method("mrs-few-step", source="ours, derived from RiFT (arXiv 2308.02533)")
def mrs_few_step(problem: Problem, layer: str) -> list[float]:
    """Estimate of MRS: few steps, each on a part of the images, measured on all at the end.

    ``few_steps``, and up to ``most_steps`` while the loss still rises fast.
    """
    parts, estimation = len(problem.batches), problem.estimation
    rises: list[float] = []
    with problem.climb(layer) as climb:
        gradient = climb.begin(0)
        while climb.step(gradient) and len(rises) < estimation.most_steps - 1:
            if len(rises) + 1 >= estimation.few_steps and not _still_rises(rises):
                break
            rise, gradient = climb.rise([len(rises) % parts], slope=True)
            rises.append(rise)
        return [max(0.0, climb.rise()[0])]


def _still_rises(rises: Sequence[float]) -> bool:
    """Say whether the last two rises are well above the two before; pairs, as parts differ."""
    return sum(rises[-2:]) > STILL_RISING * sum(rises[-4:-2])


@method("mrs-first-order", source="ours, derived from RiFT (arXiv 2308.02533)")
def mrs_first_order(problem: Problem, layer: str) -> list[float]:
    """Estimate of MRS from one gradient: the radius times the gradient's norm."""
    weight = problem.network.get_parameter(f"{layer}.weight")
    gradient = problem.start[1][layer]
    return [float(problem.estimation.epsilon * weight.detach().norm() * gradient.norm())]


@method("scan", source="Li et al., 2017 (arXiv 1608.08710), fig. 2b")
def scan(problem: Problem, layer: str) -> list[float]:
    """The clean accuracy lost when the layer's units of smallest l1 norm are set to zero.

    A share ``scan_share`` of the units that the layer makes; on the training images of the sample.
    """
    weight = problem.network.get_parameter(f"{layer}.weight")
    origin = weight.detach().clone()
    order = origin.flatten(1).abs().sum(1).argsort(stable=True)
    gone = order[: round(problem.estimation.scan_share * len(order))]
    before = _right(problem)
    try:
        with torch.no_grad():
            weight[gone] = 0
        return [(before - _right(problem)) / problem.count]
    finally:
        with torch.no_grad():
            weight.copy_(origin)


@torch.no_grad()
def _right(problem: Problem) -> int:
    return sum(
        int((problem.network(images).argmax(1) == labels).sum()) for images, labels in problem.clean
    )


def measure(
    network: nn.Module, layers: Sequence[str], data: Dataset, stage: Sensitivity
) -> dict[str, LayerSensitivity]:
    """Measure the sensitivity of layers, each alone.

    Args:
        network: It is left as it was.
        layers: The names of convolutions and linear layers.
        data: Training images are read, and no others.
        stage: The estimator, the threat, and how many images, steps and restarts.

    Returns:
        The rise of the loss by layer, in nats (of ``scan``: the share of accuracy lost).
    """
    estimate = SENSITIVITIES.load(stage.estimator)
    with evaluating(network):
        problem = _problem(network, data, stage)
        restarts = {layer: tuple(estimate(problem, layer)) for layer in layers}
    return {layer: LayerSensitivity(max(rises), rises) for layer, rises in restarts.items()}


def by_module(
    modules: Sequence[PrunableModule], layers: Mapping[str, LayerSensitivity]
) -> dict[str, LayerSensitivity]:
    """Return each module's sensitivity: that of the most sensitive of the layers that make it."""
    return {
        module.name: max((layers[layer] for layer in module.makers()), key=lambda s: s.value)
        for module in modules
    }


def _problem(network: nn.Module, data: Dataset, stage: Sensitivity) -> Problem:
    # Seeded by the network, so that all estimators look at the same adversarial set.
    estimation, device, key = stage.estimation, data.train.labels.device, stage.network.key
    draw = torch.Generator().manual_seed(derive_seed(key, "sensitivity samples"))
    index = torch.randperm(len(data.train), generator=draw)[: estimation.samples].to(device)
    start = torch.Generator(device).manual_seed(derive_seed(key, "sensitivity attack"))
    size = max(SMALLEST, math.ceil(len(index) / PARTS))
    clean = list(data.train.take(index).batches(min(size, estimation.batch_size)))
    steps, threat = estimation.attack_steps, stage.threat
    batches = [(pgd(network, x, y, threat, steps, start), y) for x, y in clean]
    return Problem(network, batches, clean, estimation, stage.key)
