"""The solver: it turns the dial of an allocation until the exact cost meets the budget.

One pure function serves every allocation and granularity. Modules keep whole units within their
limits; if the budget cannot be met, the solution says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from prune_core.pruning.prunable.costs import Counts

TOLERANCE = 0.01
"""Missing the budget by more than this share of the whole cost is a shortfall."""
CLOSE = 0.0025
"""Within this share the budget is met; coming closer would only distort the allocation."""


@dataclass(frozen=True)
class Limits:
    """How many units a module may keep.

    Attributes:
        units: The number of its units.
        floor: The smallest number that it may keep.
        cap: The largest number that it may keep.
        step: Between these two, what the number is a multiple of.
    """

    units: int
    floor: int
    cap: int
    step: int = 1

    @classmethod
    def of(cls, units: int, min_keep: float, cap: int | None = None) -> Limits:
        """Return the limits of a module that keeps at least a share ``min_keep`` and one unit."""
        cap = units if cap is None else cap
        return cls(units, min(cap, max(1, math.ceil(min_keep * units))), cap)


@dataclass(frozen=True)
class Solution:
    """What the solver found.

    Attributes:
        kept: The number of units that each module keeps.
        removed: The share of the cost that is removed.
        shortfall: Why the budget is not met; None if it is.
    """

    kept: dict[str, int]
    removed: float
    shortfall: str | None


def solve(
    limits: Mapping[str, Limits],
    shares: Callable[[float], Mapping[str, float]],
    cost: Callable[[Counts], Counts],
    removed: float,
    *,
    exactly: bool = False,
    whole: int | None = None,
) -> Solution:
    """Find the units to keep so that a share ``removed`` of the cost goes.

    The dial is bisected; then single units are given or taken, at most one a module, where that
    brings the cost nearer to the budget; more only where the budget would be missed without.

    Args:
        limits: What each module may keep.
        shares: From a dial in [0,1] to the share of units kept, by module.
        cost: From counts [..., modules], in the order of ``limits``, to costs [...].
        removed: The share of the cost that is to go.
        exactly: Go on until no single unit brings the cost nearer, as for weights.
        whole: The cost that the share is of, where it is not that of all units.

    Returns:
        The units kept; a budget missed by more than `TOLERANCE` is said in its ``shortfall``.
    """
    names = list(limits)
    units = np.array([limits[name].units for name in names], dtype=np.int64)
    floor = np.array([limits[name].floor for name in names], dtype=np.int64)
    cap = np.array([limits[name].cap for name in names], dtype=np.int64)
    step = np.array([limits[name].step for name in names], dtype=np.int64)
    total = int(cost(units)) if whole is None else whole
    budget = (1 - removed) * total
    close = 0.0 if exactly else CLOSE * total

    def counts(dial: float) -> Counts:
        wanted = shares(dial)
        asked = np.array([wanted[name] for name in names]) * units
        rounded: Counts = np.rint(asked / step).astype(np.int64) * step
        return np.clip(rounded, floor, cap)

    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if cost(counts(middle)) <= budget:
            low = middle
        else:
            high = middle
    dialled = min(counts(low), counts(high), key=lambda kept: abs(int(cost(kept)) - budget))
    near = (np.maximum(floor, _below(dialled, step)), np.minimum(cap, _above(dialled, step)))
    kept = _nearest(dialled, *near, step, cost, budget, close)
    if exactly or abs(int(cost(kept)) - budget) > TOLERANCE * total:
        kept = _nearest(kept, floor, cap, step, cost, budget, close)
    achieved = 1 - int(cost(kept)) / total
    by_name = dict(zip(names, kept.tolist(), strict=True))
    if abs(removed - achieved) <= TOLERANCE:
        return Solution(by_name, achieved, None)
    if (kept == floor).all():
        why = "every module is at its minimum width (pruning.min_keep, and one unit at least)"
    elif (kept == cap).all():
        why = "every module keeps as much as it may"
    elif (step > 1).any():
        why = "no single step of pruning.round_to brings it nearer"
    else:
        why = "no single unit brings it nearer"
    return Solution(
        by_name, achieved, f"asked to remove {removed:.1%}, removed {achieved:.1%}: {why}"
    )


def _nearest(
    kept: Counts,
    lowest: Counts,
    highest: Counts,
    step: Counts,
    cost: Callable[[Counts], Counts],
    budget: float,
    close: float,
) -> Counts:
    """Move one module by one step at a time while that brings the cost nearer, until it is close.

    A number that is no multiple of its step, as all units may be, moves to the next one that is.
    """
    gap = abs(int(cost(kept)) - budget)
    while gap > close:
        up = np.minimum(highest, _above(kept, step)) - kept
        down = np.maximum(lowest, _below(kept, step)) - kept
        moves = np.concatenate([np.diag(up), np.diag(down)])
        moves = kept + moves[moves.any(axis=1)]
        if not len(moves):
            break
        gaps = np.abs(cost(moves) - budget)
        best = int(gaps.argmin())
        if gaps[best] >= gap:
            break
        kept, gap = moves[best], float(gaps[best])
    return kept


def _above(kept: Counts, step: Counts) -> Counts:
    """Return the next multiples of a step above some numbers."""
    return (kept // step + 1) * step


def _below(kept: Counts, step: Counts) -> Counts:
    """Return the next multiples of a step below some numbers."""
    return -(-kept // step) * step - step
