r"""Intervals of variance shares: score intervals over seeds, sound from absent effects upwards.

A term's effects at the seeds scatter around their expectation :math:`m` with covariance
:math:`\Sigma`. Its share is estimated from :math:`|\bar e|^2`, whose error has two independent
parts: one *along* the effect, :math:`2\langle m, \bar e - m\rangle`, which grows with it, and one
of noise alone, of variance :math:`2 \operatorname{tr}\Sigma^2 / (S (S - 1))`, which is all there
is where the effect is absent. An interval reaches to where the estimate would be out of the
ordinary, with the error that such a true value would itself bring, as Wilson's (1927) interval of a
proportion does: the first part by Student's *t* with :math:`S - 1` degrees of freedom, from how the
seeds themselves scatter along the effect; the second by *F*, with Box's (1954) effective degrees of
freedom. The seed is the block: nothing but differences between seeds counts as error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from results.statistics.design import Array
from results.statistics.intervals import t_quantile

MOST_STEPS = 1000
"""More than ever were needed; where two distances nearly touch the error, steps are short."""
PRECISE = 1e-9
NOISE_MISSES = 1.4
"""How much more often than an interval the noise alone of a difference may go beyond its reach."""


class Term(NamedTuple):
    """What the decomposition keeps of a term: a few numbers a seed, whatever the design's size."""

    gram: Array
    """Inner products of its effects between seeds, [S, S], by cell."""
    degrees: int
    """Its degrees of freedom: in how many directions its effects can lie."""


def variances(grams: Array) -> Array:
    """Return the unbiased variance between cells of each of a stack of grams [..., S, S]."""
    seeds = grams.shape[-1]
    different = grams.sum((-1, -2)) - np.trace(grams, axis1=-2, axis2=-1)
    return np.asarray(different / (seeds * (seeds - 1)))


def share_interval(
    terms: Sequence[Term], total: Array, confidence: float = 0.95
) -> tuple[Array, Array]:
    """Return the lower and the upper ends of the terms' shares; NaN below three seeds.

    The two parts of the error add as independent ones do.

    Args:
        terms: what the decomposition keeps of each.
        total: inner products of all cells' deviations between seeds, [S, S].
        confidence: of the intervals.
    """
    if len(total) < 3:
        return np.full(len(terms), np.nan), np.full(len(terms), np.nan)
    measured = [_Measured.of(term, total) for term in terms]
    share = np.array([one.share for one in measured])
    slope = np.array([one.along(1.0).var(ddof=1) for one in measured]) / len(total)
    half = t_quantile(confidence, len(total) - 1) ** 2 * slope / 2
    above, below = np.array([_noise_reach([one], confidence) for one in measured]).T
    # With an error of t² slope · (true share) + noise², both ends are roots of a quadratic; a true
    # share below zero is none, and has the noise alone.
    low = np.sqrt(half**2 + np.maximum(2 * half * share + above**2, 0)) - half
    high = np.sqrt(np.maximum(half**2 + 2 * half * share + below**2, 0)) + half
    return (
        share - np.where(share > above, low, above),
        share + np.where(share > -below, high, below),
    )


def gap_interval(
    first: Term, second: Term, total: Array, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the interval of the first term's share less the second's; NaN below three seeds.

    A difference leaves open how large the two shares are; they are taken where they lie closest to
    the estimates. Since that varies as well, the larger part of the error is taken instead of their
    sum, the shares are thought smaller by a part of their noise, and the noise reaches less far;
    this is what keeps the coverage (docs/statistics.md).
    """
    seeds = len(total)
    if seeds < 3:
        return float("nan"), float("nan")
    pair, signs = [_Measured.of(term, total) for term in (first, second)], (1, -1)
    t = t_quantile(confidence, seeds - 1)
    part = np.sqrt([one.deviation2 for one in pair])
    part = part / part.sum() if part.sum() else np.full(2, 0.5)  # no noise: any split does

    def error(away: float, direction: int, noise: float) -> float:
        """Return how far the estimate may lie from a true difference that is ``away`` from it."""
        along = np.zeros(seeds)
        for one, sign, weight in zip(pair, signs, part, strict=True):
            true = one.share + direction * sign * weight * away
            along += sign * one.along(true - one.noise / (seeds * (seeds - 1)))
        return max(t * float(along.std(ddof=1)) / math.sqrt(seeds), noise)

    above, below = _noise_reach(pair, 1 - NOISE_MISSES * (1 - confidence), signs)
    difference = pair[0].share - pair[1].share
    return (
        difference - _first_beyond(lambda away: error(away, -1, above)),
        difference + _first_beyond(lambda away: error(away, 1, below)),
    )


def _first_beyond(error: Callable[[float], float]) -> float:
    """Return the nearest distance that is as large as the error there.

    A step to the error just found passes over none while the error grows; where it fell below the
    distance on the way, the way is halved. (A dip between two steps is passed over.)
    """
    near, beyond, ahead = 0.0, float("inf"), 0.0
    for _ in range(MOST_STEPS):
        ahead = min(error(near), (near + beyond) / 2)
        if ahead - near <= PRECISE * ahead:
            break
        near, beyond = (ahead, beyond) if error(ahead) >= ahead else (near, ahead)
    return ahead


@dataclass(frozen=True)
class _Measured:
    """A term's share and what it is uncertain by, in units of the variance between all cells."""

    share: float
    seen: float
    """The squared length of the mean effect: the share and what noise adds to it."""
    noise: float
    """The trace of the seeds' covariance."""
    degrees: float
    """In how many directions the noise effectively lies (Box, 1954): one to the term's own."""
    slopes: Array
    """What each seed adds to the share's error along the mean effect, [S]."""

    @classmethod
    def of(cls, term: Term, total: Array) -> _Measured:
        whole, seeds = float(variances(total)), len(total)
        gram = term.gram / whole
        share = float(variances(gram))
        centred = gram - gram.mean(0) - gram.mean(1)[:, None] + gram.mean()
        noise = float(np.trace(centred)) / (seeds - 1)
        # Unbiased for the trace of the squared covariance, of normal effects.
        squared = ((centred**2).sum() / (seeds - 1) ** 2 - noise**2 / (seeds - 1)) * (
            (seeds - 1) ** 2 / ((seeds - 2) * (seeds + 1))
        )
        effective = noise**2 / squared if squared * term.degrees > noise**2 else term.degrees
        slopes = 2 * (gram.mean(1) - share * total.mean(1) / whole)
        return cls(share, float(gram.mean()), noise, float(max(effective, 1)), slopes)

    @property
    def deviation2(self) -> float:
        """The variance of the share's error that noise alone makes."""
        seeds = len(self.slopes)
        return 2 * self.noise**2 / self.degrees / (seeds * (seeds - 1))

    def along(self, true: float) -> Array:
        """Return each seed's error along the effect if the share were ``true``, [S]."""
        if self.seen <= 0:  # no effect at any seed
            return np.zeros_like(self.slopes)
        return np.asarray(self.slopes * np.sqrt(max(true, 0.0) / self.seen))


def _noise_reach(
    terms: Sequence[_Measured], confidence: float, signs: Sequence[int] = (1,)
) -> tuple[float, float]:
    """Return how far noise alone takes a sum of absent shares above and below the truth.

    The noise of one term is that of *F*, which is skewed; that of a sum has the terms' joint
    degrees of freedom (Satterthwaite, 1946), and the terms' reaches add as independent ones do.
    """
    from scipy.special import fdtri  # a quarter of a second to import

    seeds = len(terms[0].slopes)
    parts = np.array([one.deviation2 for one in terms])
    if not parts.sum():
        return 0.0, 0.0
    degrees = parts.sum() ** 2 / sum(parts**2 / [one.degrees for one in terms])
    scale = np.sqrt(degrees * (seeds - 1) / (2 * seeds))  # of F, in standard deviations
    upper, lower = (
        scale * abs(fdtri(degrees, degrees * (seeds - 1), p) - 1)
        for p in ((1 + confidence) / 2, (1 - confidence) / 2)
    )
    upwards = np.array(signs) > 0
    above = np.sqrt((parts * np.where(upwards, upper, lower) ** 2).sum())
    below = np.sqrt((parts * np.where(upwards, lower, upper) ** 2).sum())
    return float(above), float(below)
