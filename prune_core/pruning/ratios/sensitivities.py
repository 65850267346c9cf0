"""Sensitivities by name: how much the adversarial loss depends on a part of a network.

MRS is our own definition in both of its forms, since the formula of arXiv 2410.15176 is not public.

- By *removal* (``damage``): the rise of the loss on fixed adversarial *training* images when the
  units of a module that a criterion would prune are gone. An estimator with ``scores`` in its needs
  is a function ``(problem, removed) -> values``, with a context ``removed(share)``.
- By *perturbation*, derived from RiFT's module robust criticality (Zhu et al., 2023, arXiv
  2308.02533): the largest rise over perturbations of one layer's weights within epsilon times their
  norm. Unlike RiFT's code, it projects every step, does not touch the test split, restarts the
  ascent, and counts a loss that is not a number as infinite. A module has the largest value of the
  layers that make it. It follows a layer's size more than what its removal costs (docs/mrs.md).
  An estimator is a function ``(problem, layer) -> rises``, one rise for each restart.

All leave the weights as they were.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_core.data.datasets import Dataset
from prune_core.models.state import evaluating
from prune_core.pruning.prunable.groups import PrunableModule, PrunableView
from prune_core.pruning.ratios.climb import Problem, count_right, make_problem, radius
from prune_core.pruning.ratios.removal import without
from prune_core.specs.registry import SENSITIVITIES, method
from prune_core.specs.stages import Sensitivity

Without = Callable[[float], AbstractContextManager[None]]
"""From a share of a module's units to a context in which its lowest ones are gone."""
STILL_RISING = 1.1
"""The few-step estimate continues while the loss rises by this factor from one pair of steps to the
next."""


@dataclass(frozen=True)
class Measured:
    """The sensitivity of one layer, or of one module.

    Attributes:
        value: Of a perturbation, the largest rise of the loss, in nats; of damage, the rise with
            half of the units removed; under scan, the share of accuracy lost.
        rises: Of a perturbation, the rise of each restart; else what was measured at each share.
        spread: The difference between the largest and the smallest restart; None without restarts.
    """

    value: float
    rises: tuple[float, ...]
    spread: float | None = None


@method("perturbation", source="ours, derived from RiFT (arXiv 2308.02533)", traits=("exact",))
def perturbation(problem: Problem, layer: str) -> list[float]:
    """Projected gradient ascent with ``steps`` steps from ``restarts`` starts."""
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


@method("perturbation-few-step", source="ours, derived from RiFT (arXiv 2308.02533)")
def perturbation_few_step(problem: Problem, layer: str) -> list[float]:
    """The same by few steps, each on a part of the images; measured on all at the end.

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


@method("perturbation-first-order", source="ours, derived from RiFT (arXiv 2308.02533)")
def perturbation_first_order(problem: Problem, layer: str) -> list[float]:
    """The same from one gradient: the radius times the gradient's norm."""
    weight = problem.network.get_parameter(f"{layer}.weight")
    gradient = problem.start[1][layer]
    return [float(radius(weight, problem.estimation) * gradient.norm())]


@method("damage", source="ours, after arXiv 2410.15176", needs=("scores",))
def damage(problem: Problem, removed: Without) -> list[float]:
    """The rise of the adversarial loss without the lowest units of a module, at each of ``shares``.

    The units go that the criterion would remove, with all that is coupled to them.
    """
    rises = []
    for share in problem.estimation.shares:
        with removed(share), torch.no_grad():
            losses = [
                F.cross_entropy(problem.network(images), labels, reduction="sum").item()
                for images, labels in problem.batches
            ]
        rise = sum(losses) / problem.count - problem.base_loss
        rises.append(rise if math.isfinite(rise) else math.inf)
    return rises


@method(
    "scan", source="Li et al., 2017 (arXiv 1608.08710), fig. 2b", needs=("scores:l1",), revision=2
)
def scan(problem: Problem, removed: Without) -> list[float]:
    """The clean accuracy that is lost without a share ``scan_share`` of a module's units.

    Those of smallest l1 norm, with all that is coupled to them; on the sample's training images.
    """
    right = problem.right  # of the whole network
    with removed(problem.estimation.scan_share):
        return [(right - count_right(problem.network, problem.clean)) / problem.count]


def measure(
    network: nn.Module, layers: Sequence[str], data: Dataset, stage: Sensitivity
) -> dict[str, Measured]:
    """Measure how much the loss rises if the weights of each layer are perturbed on their own.

    Args:
        network: It is left as it was.
        layers: The names of convolutions and linear layers.
        data: Training images are read, and no others.
        stage: The estimator, the threat, and how many images, steps and restarts.

    Returns:
        The rise of the loss by layer, in nats.
    """
    estimate = SENSITIVITIES.load(stage.estimator)
    with evaluating(network):
        problem = make_problem(network, data, stage)
        rises = {layer: tuple(estimate(problem, layer)) for layer in layers}
    return {name: Measured(max(each), each, _spread(each)) for name, each in rises.items()}


def measure_removal(
    network: nn.Module,
    view: PrunableView,
    scores: Mapping[str, Tensor],
    data: Dataset,
    stage: Sensitivity,
) -> dict[str, Measured]:
    """Measure what is lost without the units of each module that have the lowest scores.

    Args:
        network: It is left as it was.
        view: Its prunable modules.
        scores: By module [units].
        data: Training images are read, and no others.
        stage: The estimator, the threat, how many images, and the shares that are removed.

    Returns:
        What is lost by module.
    """
    estimate = SENSITIVITIES.load(stage.estimator)

    def removing(module: PrunableModule) -> Without:
        def without_share(share: float) -> AbstractContextManager[None]:
            count = max(1, round((1 - share) * module.units))
            kept = set(view.select(module, scores[module.name], count))
            gone = [unit for unit in range(module.units) if unit not in kept]
            return without(network, module, gone)

        return without_share

    with evaluating(network):
        problem = make_problem(network, data, stage)
        rises = {m.name: tuple(estimate(problem, removing(m))) for m in view.modules}
    return {name: Measured(each[len(each) // 2], each) for name, each in rises.items()}


def by_module(
    modules: Sequence[PrunableModule], layers: Mapping[str, Measured]
) -> dict[str, Measured]:
    """Return each module's sensitivity: the largest of the layers that make its units."""
    return {
        module.name: max((layers[layer] for layer in module.makers()), key=lambda m: m.value)
        for module in modules
    }


def _spread(rises: Sequence[float]) -> float:
    low, high = min(rises), max(rises)
    return 0.0 if low == high else high - low
