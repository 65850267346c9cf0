"""How surely a design decides a claim, if the numbers are as assumed: looks simulated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from results.claims.design import LEAST_SEEDS, Design
from results.claims.outcome import OUTCOMES, decided
from results.claims.question import Question, asked
from results.errors import AnalysisError
from results.statistics.design.design import Array, make_design

DRAWS = 4000
"""Experiments; a chance of 80 % is then known to 0.6 points."""
MOST_SEEDS = 200
"""More are not looked for."""


@dataclass(frozen=True)
class Assumed:
    """What is taken to be true, in points: of a contrast's parts."""

    differences: Array
    """True differences, [parts]."""
    scatter: Array
    """A square root of the covariance of one seed's differences, [directions, parts]."""
    degrees: float = np.inf
    """Of freedom by which the scatter is known; a pilot of few seeds hardly knows it."""

    @classmethod
    def stated(cls, difference: float, spread: float, parts: int = 1) -> Assumed:
        """Return what is said to be true: a difference, and the seeds' standard deviation."""
        return cls(np.full(parts, difference), spread * np.eye(parts))

    @classmethod
    def seen(cls, trials: pd.DataFrame, question: Question, difference: float | None) -> Assumed:
        """Return a pilot's: its own differences, unless one is stated, and its seeds' scatter.

        Raises:
            AnalysisError: It carries no contrast, or has one seed.
        """
        gaps = _by_seed(asked(trials, question), question)
        if len(gaps) < 2:
            raise AnalysisError("a pilot of one seed does not tell how far seeds scatter")
        apart = (gaps - gaps.mean(axis=0)) / np.sqrt(len(gaps) - 1)
        means = gaps.mean(axis=0) if difference is None else np.full(gaps.shape[1], difference)
        return cls(means, apart, len(gaps) - 1)


def chances(question: Question, design: Design, assumed: Assumed) -> dict[str, float]:
    """Return the chance of each outcome of a contrast, by its name.

    Where the scatter is known by few seeds alone, it is drawn as these have it, so that the chance
    is a mean over what it may be.

    Args:
        question: a contrast.
        design: when it is looked at.
        assumed: what is taken to be true.
    """
    from scipy.special import stdtrit  # a quarter of a second to import

    random = np.random.default_rng(0)
    most, parts = design.seeds[-1], len(assumed.differences)
    normal = random.standard_normal((DRAWS, most, len(assumed.scatter)))
    scale = np.ones((DRAWS, 1, 1))
    if np.isfinite(assumed.degrees):
        scale = np.sqrt(assumed.degrees / random.chisquare(assumed.degrees, (DRAWS, 1, 1)))
    values = assumed.differences + scale * (normal @ assumed.scatter)
    ended = np.zeros(DRAWS, dtype=np.intp)
    for seeds, alpha in zip(design.seeds, design.alphas, strict=True):
        seen = values[:, :seeds]
        mean, error = seen.mean(axis=1), seen.std(axis=1, ddof=1) / np.sqrt(seeds)
        reach = [stdtrit(seeds - 1, 1 - alpha / 2 / of) * error for of in (1, parts)]
        ends, wide = ((mean - by, mean + by) for by in reach)
        now = decided(ends, wide, question.margin, question.expects)
        ended = np.where(ended == 0, now, ended)
    return {name: float((ended == place).mean()) for place, name in enumerate(OUTCOMES)}


def truth(question: Question, assumed: Assumed) -> str:
    """Return the outcome that is right if the numbers are as assumed."""
    exact = (assumed.differences, assumed.differences)
    return OUTCOMES[int(decided(exact, exact, question.margin, question.expects))]


def seeds_needed(question: Question, design: Design, assumed: Assumed, power: float) -> int | None:
    """Return the fewest seeds of one look with a chance of the right outcome; None if too many.

    Args:
        question: a contrast.
        design: whose alpha is kept.
        assumed: what is taken to be true.
        power: the chance that is wanted.
    """
    right = truth(question, assumed)

    def enough(seeds: int) -> bool:
        one = Design((seeds,), design.alpha, design.spending)
        return chances(question, one, assumed)[right] >= power

    low, high = LEAST_SEEDS, MOST_SEEDS
    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


def _by_seed(rows: pd.DataFrame, question: Question) -> Array:
    """Return each seed's differences in points, [seeds, parts]."""
    (factor,) = question.factors
    gaps = []
    for pair in question.pairs:
        design = make_design(rows[rows[factor].isin(pair)], question.metric)
        axis = design.factors.index(factor)
        first, second = (design.levels[axis].index(level) for level in pair)
        values = 100 * np.moveaxis(design.values, axis, 0)
        apart = (values[first] - values[second]).reshape(-1, values.shape[-1])
        gaps.append(np.nanmean(apart, axis=0))
    return np.stack(gaps, axis=1)
