"""How many seeds would decide a question, and how surely: sweeps simulated as this one was seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from results.statistics.design.design import Array
from results.statistics.design.share_parts import Term, variances
from results.statistics.shares.share_intervals import excludes_zero

TRIED = (5, 10, 20, 50, 100)
DRAWS = 200
"""Sweeps for each number of seeds: a chance is then known to 3 points."""
ENOUGH = 0.5
"""A smaller chance to decide is worth no seeds."""
MOST_DIRECTIONS = 30
"""Of what is simulated of all other terms: they are in the denominator alone."""


class Power(NamedTuple):
    """A number of seeds, and the chance that it decides if the effects are as measured."""

    seeds: int
    chance: float


def power(
    first: Term,
    second: Term,
    total: Array,
    confidence: float = 0.95,
    enough: float = ENOUGH,
    draws: int = DRAWS,
) -> Power:
    """Return the fewest seeds, of those tried, that decide often enough; else the most.

    Effects and noise are as measured: a mean effect of the length of the share, in noise of the
    seeds' variance, alike in all directions of the term.
    """
    rest = Term(total - first.gram - second.gram, MOST_DIRECTIONS)
    parts = [_measured(term) for term in (first, second, rest)]
    tried = [seeds for seeds in TRIED if seeds > len(total)] or [TRIED[-1]]
    for seeds in tried:
        chance = _chance(parts, seeds, confidence, draws)
        if chance >= enough:
            break
    return Power(seeds, chance)


def _measured(term: Term) -> tuple[float, float, int]:
    """Return the length of a term's effect, its noise in a direction, and its directions."""
    seeds = len(term.gram)
    size = np.sqrt(max(0.0, float(variances(term.gram))))
    scatter = (np.trace(term.gram) - term.gram.sum() / seeds) / (seeds - 1)
    directions = min(term.degrees, MOST_DIRECTIONS)
    return float(size), float(np.sqrt(max(scatter, 0) / directions)), directions


def _chance(
    parts: Sequence[tuple[float, float, int]], seeds: int, confidence: float, draws: int
) -> float:
    random = np.random.default_rng(seeds)
    decided = 0
    for _ in range(draws):
        terms = []
        for size, noise, directions in parts:
            effects = noise * random.standard_normal((seeds, directions))
            effects[:, 0] += size
            terms.append(Term(effects @ effects.T, directions))
        whole = np.sum([term.gram for term in terms], axis=0)
        decided += excludes_zero(terms[0], terms[1], whole, confidence)
    return decided / draws
