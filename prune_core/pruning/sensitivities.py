"""Sensitivities by name: how much the weights of a layer matter to a loss.

An estimator is a function ``(problem, layer) -> rises``. It returns one rise of the loss for each
restart and leaves the weights as they were.

MRS is our own definition, since the formula of arXiv 2410.15176 is not public. It derives from
RiFT's module robust criticality (Zhu et al., 2023, arXiv 2308.02533): the largest rise of the loss
on fixed adversarial *training* images, over perturbations of that layer's weights within epsilon
times their norm. Unlike RiFT's code, it projects every step, does not touch the test split,
restarts the ascent, and counts a loss that is not a number as infinite. The MRS of a module is the
largest MRS of the layers that make it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from prune_core.data.datasets import Dataset
from prune_core.models.state import evaluating
from prune_core.pruning.climb import Problem, make_problem
from prune_core.pruning.groups import PrunableModule
from prune_core.specs.registry import SENSITIVITIES, method
from prune_core.specs.stages import Sensitivity

STILL_RISING = 1.1
"""The few-step estimate continues while the loss rises by this factor from one pair of steps to the
next."""


@dataclass(frozen=True)
class LayerSensitivity:
    """The sensitivity of one layer.

    Attributes:
        value: The largest rise of the loss, in nats; under scan, the share of accuracy lost.
        restarts: The rise of each restart.
    """

    value: float
    restarts: tuple[float, ...]

    @property
    def spread(self) -> float:
        """The difference between the largest and the smallest restart."""
        low, high = min(self.restarts), max(self.restarts)
        return 0.0 if low == high else high - low


@method("mrs", source="ours, derived from RiFT (arXiv 2308.02533)", traits=("exact",))
def mrs(problem: Problem, layer: str) -> list[float]:
    """Exact MRS: projected gradient ascent with ``steps`` steps from ``restarts`` starts."""
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
    """Estimate of MRS by few steps, each on a part of the images; measured on all at the end.

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
    """Return whether the last two rises exceed the two before; parts differ, hence pairs."""
    return sum(rises[-2:]) > STILL_RISING * sum(rises[-4:-2])


@method("mrs-first-order", source="ours, derived from RiFT (arXiv 2308.02533)")
def mrs_first_order(problem: Problem, layer: str) -> list[float]:
    """Estimate of MRS from one gradient: the radius times the gradient's norm."""
    weight = problem.network.get_parameter(f"{layer}.weight")
    gradient = problem.start[1][layer]
    return [float(problem.estimation.epsilon * weight.detach().norm() * gradient.norm())]


@method("scan", source="Li et al., 2017 (arXiv 1608.08710), fig. 2b")
def scan(problem: Problem, layer: str) -> list[float]:
    """The clean accuracy that is lost when the units of smallest l1 norm are set to zero.

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
    """Measure the sensitivity of each layer on its own.

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
        problem = make_problem(network, data, stage)
        restarts = {layer: tuple(estimate(problem, layer)) for layer in layers}
    return {layer: LayerSensitivity(max(rises), rises) for layer, rises in restarts.items()}


def by_module(
    modules: Sequence[PrunableModule], layers: Mapping[str, LayerSensitivity]
) -> dict[str, LayerSensitivity]:
    """Return each module's sensitivity: the largest of the layers that make its channels."""
    return {
        module.name: max((layers[layer] for layer in module.makers()), key=lambda s: s.value)
        for module in modules
    }
