"""Sensitivities: how much a layer's weights matter to the adversarial loss.

MRS here is our definition, derived from RiFT's module robust criticality (Zhu et al., 2023, arXiv
2308.02533), since the formula of arXiv 2410.15176 is not public: the largest rise of the
adversarial loss, on a fixed adversarial set from *training* data, over perturbations of that
layer's weights alone within epsilon times their norm. Unlike RiFT's code, every step is projected,
the test split is not touched, the ascent is restarted, and a loss that is not a number counts as
infinite. A module's MRS is the largest of the layers that make its channels.

An estimator is a function ``(problem, layer) -> rises``, one rise a restart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_core.adversary import pgd
from prune_core.datasets import Dataset
from prune_core.identity import derive_seed
from prune_core.modes import evaluating
from prune_core.modules import PrunableModule
from prune_core.registry import SENSITIVITIES, method
from prune_core.specs import Estimation
from prune_core.stages import Sensitivity

STEP = 0.5
"""Length of a step, as a share of the radius; constant, so that plateaus are crossed."""
FEW_STEPS, MOST_STEPS, STILL_RISING = 3, 12, 0.05


@dataclass(frozen=True)
class Problem:
    """A network in eval mode, an adversarial set made against it, and its loss there."""

    network: nn.Module
    batches: Sequence[tuple[Tensor, Tensor]]
    base_loss: float
    estimation: Estimation
    key: str

    def loss_and_gradient(self, weight: Tensor) -> tuple[float, Tensor]:
        """Return the mean adversarial loss and its gradient by one weight."""
        total, gradient = 0.0, torch.zeros_like(weight)
        count = sum(len(labels) for _, labels in self.batches)
        for images, labels in self.batches:
            loss = F.cross_entropy(self.network(images), labels, reduction="sum") / count
            gradient += torch.autograd.grad(loss, weight)[0]
            total += loss.item()
        return total, gradient


@dataclass(frozen=True)
class LayerSensitivity:
    """The rise of the adversarial loss for one layer: the largest, and that of every restart."""

    value: float
    restarts: tuple[float, ...]


@method("mrs", source="ours, derived from RiFT (arXiv 2308.02533)", traits=("exact",))
def mrs(problem: Problem, layer: str) -> list[float]:
    """Exact MRS: projected gradient ascent with ``steps`` steps, restarted ``restarts`` times."""
    estimation = problem.estimation
    return [
        max(_ascend(problem, layer, estimation.steps, restart))
        for restart in range(estimation.restarts)
    ]


@method("mrs-few-step", source="ours, derived from RiFT (arXiv 2308.02533)")
def mrs_few_step(problem: Problem, layer: str) -> list[float]:
    """Estimate of MRS: 3 steps, and up to 12 while the loss still rises by 5 % a step."""
    rises = _ascend(problem, layer, FEW_STEPS, restart=0)
    if rises[-1] > (1 + STILL_RISING) * max(rises[:-1]):
        rises = _ascend(problem, layer, MOST_STEPS, restart=0)
    return [max(rises)]


def measure(
    network: nn.Module, modules: Sequence[PrunableModule], data: Dataset, stage: Sensitivity
) -> dict[str, LayerSensitivity]:
    """Return the sensitivity of every layer that makes a module's channels."""
    estimate = SENSITIVITIES.load(stage.estimator)
    with evaluating(network):
        problem = _problem(network, data, stage)
        found = {
            layer: tuple(estimate(problem, layer))
            for module in modules
            for layer in module.makers()
        }
    return {layer: LayerSensitivity(max(rises), rises) for layer, rises in found.items()}


def by_module(
    modules: Sequence[PrunableModule], layers: dict[str, LayerSensitivity]
) -> dict[str, float]:
    """Return each module's sensitivity: the largest among the layers that make its channels."""
    return {
        module.name: max(layers[layer].value for layer in module.makers()) for module in modules
    }


def _problem(network: nn.Module, data: Dataset, stage: Sensitivity) -> Problem:
    # Seeded by the dense network, so that all estimators look at the same adversarial set.
    estimation, device, dense = stage.estimation, data.train.labels.device, stage.dense.key
    draw = torch.Generator().manual_seed(derive_seed(dense, "sensitivity samples"))
    index = torch.randperm(len(data.train), generator=draw)[: estimation.samples].to(device)
    start = torch.Generator(device).manual_seed(derive_seed(dense, "sensitivity attack"))
    batches = []
    for images, labels in data.train.take(index).batches(estimation.batch_size):
        steps = estimation.attack_steps
        batches.append((pgd(network, images, labels, stage.threat, steps, start), labels))
    with torch.no_grad():
        total = sum(
            F.cross_entropy(network(images), labels, reduction="sum").item()
            for images, labels in batches
        )
    return Problem(network, batches, total / len(index), estimation, stage.key)


def _ascend(problem: Problem, layer: str, steps: int, restart: int) -> list[float]:
    """Return the rise of the loss after 0, 1, ... ``steps`` projected steps.

    The first restart begins at the weights, the others half-way to the ball's edge.
    """
    weight = problem.network.get_parameter(f"{layer}.weight")
    origin = weight.detach().clone()
    radius = problem.estimation.epsilon * origin.norm()
    offset = torch.zeros_like(origin)
    if restart > 0:
        seed = derive_seed(problem.key, "restart", layer, restart)
        noise = torch.randn(origin.shape, generator=torch.Generator().manual_seed(seed))
        offset = (0.5 * radius / noise.norm()) * noise.to(origin.device)
    rises: list[float] = []
    try:
        for _ in range(steps + 1):
            with torch.no_grad():
                weight.copy_(origin + offset)
            loss, gradient = problem.loss_and_gradient(weight)
            rises.append(loss - problem.base_loss if math.isfinite(loss) else math.inf)
            norm = gradient.norm()
            if not norm.isfinite() or norm == 0:
                break
            offset = offset + (STEP * radius / norm) * gradient
            offset = offset * (radius / offset.norm()).clamp_max(1)
    finally:
        with torch.no_grad():
            weight.copy_(origin)
    return rises
