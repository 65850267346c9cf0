"""Criteria and fine-tunings as samples of all that there are: variance components."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from results.statistics.design.design import Array, Design
from results.statistics.design.intervals import Estimate
from results.statistics.design.share_parts import Term

DRAWS = 4000
"""Of variances, for an interval: its ends are then exact to a percent of the draws."""


def as_a_sample(
    terms: Mapping[str, Term], design: Design, pair: tuple[str, str], confidence: float = 0.95
) -> tuple[float, float, Estimate]:
    """Return how far levels lie apart among all levels there could be, of two factors.

    Levels are taken as drawn from populations, those of all other factors as they are. The mean
    square between a factor's levels has a part of the two factors' interaction in it, as few
    levels of the other are there to take it out; it is taken off. The interval is the generalised
    one: every mean square is drawn from what it may be, given how few levels it comes from.

    Args:
        terms: what the decomposition of a complete design keeps of each term.
        design: the metric over cells and seeds.
        pair: the two factors.
        confidence: of the interval.

    Returns:
        The standard deviations between the levels of the first and of the second factor, and their
        difference, all in accuracy points.

    Source:
        Searle, Casella and McCulloch, 1992 (components); Weerahandi, 1993 (interval).
    """
    sizes = [len(design.levels[design.factors.index(name)]) for name in pair]
    names = [*pair, next((t for t in terms if set(t.split(":")) == set(pair)), None)]
    factors = [n / (n - 1) for n in sizes]
    scales = [*factors, factors[0] * factors[1]]
    random = np.random.default_rng(0)
    seen, drawn = [], []
    for name, scale in zip(names, scales, strict=True):
        term = terms[name] if name else Term(np.zeros((len(design.seeds),) * 2), 1)
        square, noise = _squares(term.gram)
        seen.append(scale * (square - noise))
        both = _drawn(random, square, term.degrees)
        drawn.append(scale * (both - _drawn(random, noise, term.degrees * (len(term.gram) - 1))))
    value = [_spread(seen[i], seen[2], sizes[1 - i]) for i in (0, 1)]
    spreads = [_spread(drawn[i], drawn[2], sizes[1 - i]) for i in (0, 1)]
    ends = np.quantile(spreads[0] - spreads[1], [(1 - confidence) / 2, (1 + confidence) / 2])
    gap = float(value[0] - value[1])
    low, high = min(float(ends[0]), gap), max(float(ends[1]), gap)
    return float(value[0]), float(value[1]), Estimate(gap, low, high)


def _squares(gram: Array) -> tuple[float, float]:
    """Return the square of a term's mean effect, and what noise adds to it."""
    seeds = len(gram)
    square = float(gram.mean())
    return square, max(0.0, float(np.trace(gram) / seeds - square) / (seeds - 1))


def _drawn(random: np.random.Generator, square: float, degrees: int) -> Array:
    return np.asarray(square * degrees / random.chisquare(degrees, DRAWS))


def _spread(square: Array | float, mixed: Array | float, others: int) -> Array:
    """Return a standard deviation in points, of a mean square without what interactions add."""
    return np.asarray(100 * np.sqrt(np.maximum(square - np.maximum(mixed, 0.0) / others, 0.0)))
