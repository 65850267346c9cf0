"""Allocations: how a budget is spread over the prunable modules; pure, without a network.

An allocation is a function ``(evidence, dial) -> share of channels kept, by module``, which must
not fall as the dial turns from 0 to 1 and keeps everything at 1. `solve` turns the dial until the
budget is met on the exact cost, whole channels and minimum widths included.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from prune_core.registry import method

Shares = dict[str, float]


@dataclass(frozen=True)
class Evidence:
    """What an allocation may look at, by module."""

    channels: Mapping[str, int]
    scores: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """The criterion's score of every channel, comparable between modules."""
    sensitivities: Mapping[str, float] = field(default_factory=dict)
    exponent: float = 0.5
    """How strongly shares follow sensitivities: they are proportional to them to this power."""


@dataclass(frozen=True)
class Solution:
    """Channels kept by module, the share of the budget removed, and what could not be met."""

    kept: dict[str, int]
    removed: float
    shortfall: str | None


@method("uniform")
def uniform(evidence: Evidence, dial: float) -> Shares:
    """Every module keeps the same share of its channels."""
    return dict.fromkeys(evidence.channels, dial)


@method("global", needs=("scores",))
def global_(evidence: Evidence, dial: float) -> Shares:
    """The channels with the highest scores anywhere are kept."""
    ranked = sorted((s for scores in evidence.scores.values() for s in scores), reverse=True)
    count = round(dial * len(ranked))
    if count == 0:
        return dict.fromkeys(evidence.scores, 0.0)
    lowest = ranked[count - 1]
    return {
        name: sum(score >= lowest for score in scores) / len(scores)
        for name, scores in evidence.scores.items()
    }


@method(
    "mrs",
    source="ours, after arXiv 2410.15176; sensitivities as RiFT's (arXiv 2308.02533)",
    needs=("sensitivity:mrs",),
)
def mrs(evidence: Evidence, dial: float) -> Shares:
    """Modules whose weights matter more to the adversarial loss keep more (exact MRS)."""
    return _by_sensitivity(evidence, dial)


@method(
    "mrs-few-step",
    source="ours, after arXiv 2410.15176; sensitivities as RiFT's (arXiv 2308.02533)",
    needs=("sensitivity:mrs-few-step",),
)
def mrs_few_step(evidence: Evidence, dial: float) -> Shares:
    """As mrs, with the cheap estimate of few ascent steps."""
    return _by_sensitivity(evidence, dial)


def _by_sensitivity(evidence: Evidence, dial: float) -> Shares:
    finite = [value for value in evidence.sensitivities.values() if math.isfinite(value)]
    top = max(finite, default=1.0)
    if top <= 0:  # no module matters: nothing tells them apart
        return uniform(evidence, dial)
    # An unbounded rise outranks every finite one; a module that gains nothing is not starved.
    bounded = {
        name: 10 * top if not math.isfinite(value) else max(value, 1e-3 * top)
        for name, value in evidence.sensitivities.items()
    }
    propensity = {name: value**evidence.exponent for name, value in bounded.items()}
    lowest = min(propensity.values())
    return {name: min(1.0, dial * value / lowest) for name, value in propensity.items()}


TOLERANCE = 0.01
"""A budget missed by more than this share of the whole is a shortfall."""
CLOSE = 0.0025
"""A budget met within this share is met: coming nearer would only distort the allocation."""


def solve(
    channels: Mapping[str, int],
    shares: Callable[[float], Mapping[str, float]],
    cost: Callable[[Mapping[str, int]], int],
    removed: float,
    min_keep: float,
) -> Solution:
    """Find the channels to keep so that a share ``removed`` of the cost goes.

    The dial is bisected; then single channels are given or taken, at most one a module, where that
    brings the cost nearer to the budget; more only where the budget would be missed without. Every
    module keeps at least ``min_keep`` of its channels, and one. A budget missed by more than
    `TOLERANCE` is said in ``shortfall``.
    """
    floor = {name: max(1, math.ceil(min_keep * n)) for name, n in channels.items()}
    whole = cost(channels)
    budget = (1 - removed) * whole

    def counts(dial: float) -> dict[str, int]:
        wanted = shares(dial)
        return {
            name: min(n, max(floor[name], round(wanted[name] * n))) for name, n in channels.items()
        }

    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        if cost(counts(middle)) <= budget:
            low = middle
        else:
            high = middle
    dialled = counts(low)
    near = {
        name: range(max(floor[name], n - 1), min(channels[name], n + 1) + 1)
        for name, n in dialled.items()
    }
    kept = _nearest(dialled, near, cost, budget, CLOSE * whole)
    if abs(cost(kept) - budget) > TOLERANCE * whole:
        anywhere = {name: range(floor[name], n + 1) for name, n in channels.items()}
        kept = _nearest(kept, anywhere, cost, budget, CLOSE * whole)
    achieved = 1 - cost(kept) / whole
    if abs(removed - achieved) <= TOLERANCE:
        return Solution(kept, achieved, None)
    why = (
        f"every module keeps at least {min_keep:.0%} of its channels, and one"
        if kept == floor
        else "no single channel brings it nearer"
    )
    shortfall = f"asked to remove {removed:.1%}, removed {achieved:.1%}: {why}"
    return Solution(kept, achieved, shortfall)


def _nearest(
    kept: dict[str, int],
    allowed: Mapping[str, range],
    cost: Callable[[Mapping[str, int]], int],
    budget: float,
    close: float,
) -> dict[str, int]:
    """Move one channel at a time while that brings the cost nearer, until it is close."""
    while (gap := abs(cost(kept) - budget)) > close:
        moves = [
            {**kept, name: kept[name] + step}
            for name in kept
            for step in (1, -1)
            if kept[name] + step in allowed[name]
        ]
        best = min(moves, key=lambda move: abs(cost(move) - budget), default=kept)
        if abs(cost(best) - budget) >= gap:
            break
        kept = best
    return kept
