"""The budget: how many units each module keeps, by a stage's allocation, on the exact cost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prune_core.errors import UnprunableError
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

CLOSE = 1e-6
"""Shares that are so near are equal."""
WRAPPED = "network."
"""What stands before every layer's name, since the normalisation is in front."""


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
    limits = _limits(view, stage, origin.units)

    def shares(dial: float) -> Mapping[str, float]:
        return _checked(allocation(evidence, dial), evidence.units, stage.allocation)

    if ALLOCATIONS.outside(stage.allocation):
        _check_dial(shares, stage.allocation)
    return solve(
        limits,
        shares,
        price,
        removed=stage.sparsity,
        exactly=unit_of(stage.granularity) == "weight",
        whole=origin.params if stage.budget == "params" else origin.macs,
    )


DIALS = tuple(step / 8 for step in range(9))
"""Where it is looked whether a user's own allocation follows its dial."""


def _checked(shares: object, units: Mapping[str, int], name: str) -> Mapping[str, float]:
    """Return the shares that an allocation gives, if they are that.

    Raises:
        ValueError: It says what is wrong, and what must be given.
    """
    wanted = "it must return a mapping of each module to the share of it that is kept"
    if not isinstance(shares, Mapping):
        raise ValueError(f"allocation {name!r} returns a {type(shares).__name__}; {wanted}")
    if missing := [module for module in units if module not in shares]:
        raise ValueError(f"allocation {name!r} gives no share for {', '.join(missing)}; {wanted}")
    for module in units:
        try:
            finite = math.isfinite(shares[module])
        except (TypeError, ValueError):
            finite = False
        if not finite:
            given = f"{shares[module]!r} for {module}"
            raise ValueError(f"allocation {name!r} gives {given}; {wanted}, from 0 to 1")
    return shares


def own_of_sizes(stage: Pruned) -> str | None:
    """Return a stage's allocation, if it is a user's own that reads no scores: it can be tried."""
    own = ALLOCATIONS.outside(stage.allocation) and not ALLOCATIONS[stage.allocation].needs
    return stage.allocation if own else None


def _check_dial(shares: Callable[[float], Mapping[str, float]], name: str) -> None:
    """Refuse an allocation that is not turned up by its dial: no budget is met with it.

    Raises:
        ValueError: It falls, or does not keep all at 1.
    """
    turned = [shares(dial) for dial in DIALS]
    for module, last in turned[-1].items():
        kept = [min(max(float(each[module]), 0.0), 1.0) for each in turned if module in each]
        if any(after < before - CLOSE for before, after in itertools.pairwise(kept)):
            fault = "falls while the dial turns from 0 to 1"
        elif float(last) < 1 - CLOSE:
            fault = f"is {float(last):g} at dial 1, where all is kept"
        else:
            continue
        raise ValueError(
            f"allocation {name!r}: the share of {module} {fault}; it must rise with the dial up to "
            "1, so that every budget can be met"
        )


def reach(view: PrunableView, stage: Pruned) -> tuple[float, float]:
    """Return the least and the most of a dense network's budget that can be removed, as shares.

    Args:
        view: The dense network.
        stage: The budget, and what a module may keep of its units.
    """
    units = {module.name: module.units for module in view.modules}
    limits = _limits(view, stage, units).values()
    whole, least, most = (
        int(cost(view.costs, stage.budget, np.array(kept, dtype=np.int64)))
        for kept in (
            list(units.values()),
            [limit.cap for limit in limits],
            [limit.floor for limit in limits],
        )
    )
    return 1 - least / whole, 1 - most / whole


def _limits(view: PrunableView, stage: Pruned, units: Mapping[str, int]) -> dict[str, Limits]:
    """Return what each module may keep; shares are of ``units``, those of the dense network.

    Raises:
        UnprunableError: A layer that is to be left whole is in no module.
    """
    left = _left_whole(view, stage.leave or ())
    limits = {}
    for module in view.modules:
        cap = _cap(module)
        floor = Limits.of(units[module.name], stage.min_keep, cap).floor
        step = _step(module, stage.round_to or 1)
        floor = cap if module.name in left else min(cap, -(-floor // step) * step)
        limits[module.name] = Limits(module.units, floor, cap, step)
    return limits


def _step(module: PrunableModule, round_to: int) -> int:
    """Return what a module's units are a multiple of; a head has many channels, a channel one."""
    each = {len(member.units) // module.units for member in module.members if member.side == "out"}
    return round_to // math.gcd(round_to, *each)


def _left_whole(view: PrunableView, names: Sequence[str]) -> set[str]:
    """Return the modules that have a layer of the given names, or one inside of these."""
    found: dict[str, set[str]] = {name: set() for name in names}
    for module in view.modules:
        layers = [member.layer.removeprefix(WRAPPED) for member in module.members]
        for name, modules in found.items():
            if any(f"{layer}.".startswith(f"{name.removeprefix(WRAPPED)}.") for layer in layers):
                modules.add(module.name)
    if unknown := [name for name, modules in found.items() if not modules]:
        some = ", ".join(module.name.removeprefix(WRAPPED) for module in view.modules[:8])
        raise UnprunableError(
            f"pruning.leave: no layer that could be pruned is called {', '.join(unknown)}, or is "
            f"in it; such layers are {some}, ...; give names by architecture where they differ"
        )
    return set().union(*found.values())


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
