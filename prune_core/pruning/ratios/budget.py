"""The budget: how many units each module keeps, by a stage's allocation, on the exact cost."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prune_core.pruning.prunable.costs import Budget, Counts, cost
from prune_core.pruning.prunable.counting import Origin
from prune_core.pruning.prunable.granularities import unit_of
from prune_core.pruning.prunable.groups import PrunableModule, PrunableView
from prune_core.pruning.ratios.curves import Curve, curves_of
from prune_core.pruning.ratios.evidence import Evidence
from prune_core.pruning.ratios.sensitivities import Measured
from prune_core.pruning.ratios.solver import Limits, Solution, solve
from prune_core.specs.keys import derive_seed
from prune_core.specs.registry import ALLOCATIONS
from prune_core.specs.stages import Pruned


def meet_budget(
    view: PrunableView,
    stage: Pruned,
    scores: Mapping[str, Tensor],
    sensitivities: Mapping[str, Measured],
    origin: Origin,
) -> Solution:
    """Say how many units each module keeps, as the stage's allocation spreads its budget.

    Args:
        view: The network that is to be pruned.
        stage: What is asked for.
        scores: Those that the allocation ranks, by module [units].
        sensitivities: By module; empty where the allocation reads none.
        origin: The dense network, of which the budget and the minimum widths are shares.
    """
    allocation = ALLOCATIONS.load(stage.allocation)
    needs_scores = any(need.startswith("scores") for need in ALLOCATIONS[stage.allocation].needs)

    def price(kept: Counts) -> Counts:
        return cost(view.costs, stage.budget, kept)

    evidence = Evidence(
        units={module.name: module.units for module in view.modules},
        shapes={module.name: module.shape for module in view.modules},
        outputs=view.outputs if "outputs" in ALLOCATIONS[stage.allocation].needs else frozenset(),
        scores={
            module.name: _ranks(scores[module.name], view.allowed(module))
            for module in view.modules
            if needs_scores
        },
        sensitivities={name: each.value for name, each in sensitivities.items()},
        curves=_curves(stage, sensitivities),
        cost=price,
        prices=_prices(view, stage.budget),
        ratios=stage.ratios or {},
        exponent=stage.mrs_exponent or 0.0,
        seed=derive_seed(stage.network.key, "allocation"),
    )
    limits = _limits(view, stage.min_keep, origin.units)

    return solve(
        limits,
        lambda dial: allocation(evidence, dial),
        price,
        removed=stage.sparsity,
        exactly=unit_of(stage.granularity) == "weight",
        whole=origin.params if stage.budget == "params" else origin.macs,
    )


def reach(view: PrunableView, stage: Pruned) -> tuple[float, float]:
    """Return the least and the most of a dense network's budget that can be removed, as shares.

    Args:
        view: The dense network.
        stage: The budget, and the smallest share of its units that a module keeps.
    """
    units = {module.name: module.units for module in view.modules}
    limits = _limits(view, stage.min_keep, units).values()
    whole, least, most = (
        int(cost(view.costs, stage.budget, np.array(kept, dtype=np.int64)))
        for kept in (
            list(units.values()),
            [limit.cap for limit in limits],
            [limit.floor for limit in limits],
        )
    )
    return 1 - least / whole, 1 - most / whole


def _limits(view: PrunableView, min_keep: float, units: Mapping[str, int]) -> dict[str, Limits]:
    """Return what each module may keep; shares are of ``units``, those of the dense network."""
    return {
        module.name: Limits(
            module.units,
            Limits.of(units[module.name], min_keep, _cap(module)).floor,
            _cap(module),
        )
        for module in view.modules
    }


def _curves(stage: Pruned, measured: Mapping[str, Measured]) -> dict[str, Curve]:
    if stage.sensitivity is None or stage.sensitivity.estimator != "damage":
        return {}
    rises = {name: each.rises for name, each in measured.items()}
    return curves_of(rises, stage.sensitivity.estimation.shares)


def _prices(view: PrunableView, budget: Budget) -> dict[str, float]:
    """Return what each module costs in the whole network, by what a unit less of it would save."""
    units = np.array([module.units for module in view.modules], dtype=np.int64)
    saved = cost(view.costs, budget, units) - cost(
        view.costs, budget, units - np.eye(len(units), dtype=np.int64)
    )
    names = (module.name for module in view.modules)
    return dict(zip(names, (saved * units).astype(float).tolist(), strict=True))


def _cap(module: PrunableModule) -> int:
    return module.units if module.cap is None else module.cap


def _ranks(scores: Tensor, allowed: Tensor | None) -> NDArray[np.float64]:
    """Return scores in which what may not be kept ranks below everything."""
    ranks = scores.double()
    if allowed is not None:
        ranks = ranks.masked_fill(~allowed, -torch.inf)
    return np.asarray(ranks.cpu().numpy(), dtype=np.float64)
