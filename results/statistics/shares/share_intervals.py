r"""Intervals of variance shares: score intervals over seeds, sound from absent effects upwards.

A term's effects at the seeds scatter around their expectation :math:`m` with covariance
:math:`\Sigma`. Its share is estimated from :math:`|\bar e|^2`, whose error has two independent
parts: one *along* the effect, :math:`2\langle m, \bar e - m\rangle`, which grows with it, and one
of noise alone, of variance :math:`2 \operatorname{tr}\Sigma^2 / (S (S - 1))`, which is all there
is where the effect is absent. An interval reaches to where the estimate would be out of the
ordinary, with the error that such a true value would itself bring, as Wilson's (1927) interval of a
proportion does: the first part by Student's *t*, from how the seeds themselves scatter along the
effect; the second by *F*, with Box's (1954) effective degrees of freedom. The two add as Banerjee's
(1961) intervals for sums of estimates of unequal variances do.

A share is a quotient. Whether it is :math:`\theta` is whether :math:`V_T - \theta V` is zero
(Fieller, 1954): the error of the whole counts with weight :math:`\theta`, along the effects and in
noise, term by term. Where images are a factor too, their errors are added; see
`results.statistics.shares.images`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from results.statistics.design.design import Array
from results.statistics.design.intervals import NO_ESTIMATE, Estimate, t_quantile
from results.statistics.design.share_parts import ImageScatter, Part, Term, parts_of

STEPS, SEARCHES = 16, 3
"""An end is searched in as many steps, and as often within the one found; then all is straight."""


def share_interval(
    terms: Sequence[Term], total: Array, confidence: float = 0.95, degrees: float | None = None
) -> tuple[Array, Array]:
    """Return the lower and the upper ends of the terms' shares; NaN below three seeds.

    Args:
        terms: what the decomposition keeps of each.
        total: inner products of all cells' deviations between seeds, [S, S].
        confidence: of the intervals.
        degrees: of freedom of the seeds; one less than there are where left out.
    """
    found = [
        _estimate(parts_of([term], total), (1, 0), confidence, degrees, bounds=(0, 1))
        for term in terms
    ]
    return np.array([one.low for one in found]), np.array([one.high for one in found])


def gap_interval(
    first: Term,
    second: Term,
    total: Array,
    confidence: float = 0.95,
    degrees: float | None = None,
) -> tuple[float, float]:
    """Return the interval of the first term's share less the second's; NaN below three seeds.

    Args:
        first: what the decomposition keeps of a term.
        second: of the other.
        total: inner products of all cells' deviations between seeds, [S, S].
        confidence: of the interval.
        degrees: of freedom of the seeds; one less than there are where left out.
    """
    parts = parts_of([first, second], total)
    gap = _estimate(parts, (1, -1, 0), confidence, degrees, bounds=(-1, 1))
    return gap.low, gap.high


def compared_shares(
    pair: Sequence[Term],
    total: Array,
    images: ImageScatter | None,
    confidence: float = 0.95,
    degrees: float | None = None,
) -> tuple[Estimate, Estimate, Estimate]:
    """Return the first share less the second, and both, with intervals; NaN below three seeds.

    Args:
        pair: what the decomposition keeps of two terms.
        total: inner products of all cells' deviations between seeds, [S, S].
        images: what images add to the first, the second, and all other terms together.
        confidence: of the intervals.
        degrees: of freedom of the seeds; one less than there are where left out.
    """
    parts = parts_of(pair, total, images)
    return (
        _estimate(parts, (1, -1, 0), confidence, degrees, bounds=(-1, 1)),
        _estimate(parts, (1, 0, 0), confidence, degrees, bounds=(0, 1)),
        _estimate(parts, (0, 1, 0), confidence, degrees, bounds=(0, 1)),
    )


def excludes_zero(first: Term, second: Term, total: Array, confidence: float = 0.95) -> bool:
    """Return whether the interval of the difference of two shares has zero outside it."""
    parts = parts_of([first, second], total)
    gap = parts[0].share - parts[1].share
    error = _Error(parts, np.array([1, -1, 0]), confidence, None)
    return bool(abs(gap) > error(np.array([abs(gap)]), -1 if gap > 0 else 1)[0])


def _estimate(
    parts: Sequence[Part],
    weights: Sequence[int],
    confidence: float,
    degrees: float | None,
    bounds: tuple[float, float],
) -> Estimate:
    """Return the weighted sum of the parts' shares with its interval.

    Nothing is cut off that holds the estimate.
    """
    error = _Error(parts, np.array(weights), confidence, degrees)
    estimate = error.estimate
    if len(parts[0].slopes) < 3:
        return NO_ESTIMATE._replace(value=estimate)
    lowest, highest = min(bounds[0], estimate), max(bounds[1], estimate)
    low = estimate - _first_beyond(lambda away: error(away, -1), estimate - lowest)
    high = estimate + _first_beyond(lambda away: error(away, 1), highest - estimate)
    return Estimate(estimate, float(low), float(high))


class _Error:
    """How far a weighted sum of shares may lie from truths at some distance from it.

    A difference leaves open how large its shares are: they are taken where they lie closest to the
    estimates.
    """

    def __init__(
        self, parts: Sequence[Part], weights: Array, confidence: float, degrees: float | None
    ) -> None:
        self._parts, self._weights, self._confidence = parts, weights, confidence
        self._seeds = len(parts[0].slopes)
        self._t = t_quantile(confidence, self._seeds - 1 if degrees is None else degrees)
        self._z = t_quantile(confidence, math.inf)
        self.estimate = float(sum(w * part.share for w, part in zip(weights, parts, strict=True)))
        uncertain = np.abs(weights) * [part.noise / math.sqrt(part.directions) for part in parts]
        even = np.abs(weights) / np.abs(weights).sum()  # without noise any split does
        self._split = uncertain / uncertain.sum() if uncertain.sum() > 0 else even
        self._slopes = np.stack([part.slopes for part in parts])
        self._images = np.stack([part.images for part in parts])

    def __call__(self, away: Array, direction: int) -> Array:
        """Return the reach at truths that lie ``away`` in a direction, [truths]."""
        pull = self._weights - (self.estimate + direction * away)[:, None]
        moved = direction * away[:, None] * self._split * self._weights
        scales = [p.scale(p.share + by) for p, by in zip(self._parts, moved.T, strict=True)]
        sizes = pull * np.stack(scales, axis=1)
        by_seed = np.var(sizes @ self._slopes, axis=1, ddof=1) / self._seeds
        by_image = np.maximum(np.einsum("tp,pq,tq->t", sizes, self._images, sizes), 0)
        noise = _noise_reach(self._parts, direction * pull, self._confidence)
        return np.asarray(np.sqrt(self._t**2 * by_seed + self._z**2 * by_image + noise**2))


def _first_beyond(error: Callable[[Array], Array], limit: float) -> float:
    """Return the nearest distance beyond the error there; the limit where all are within it.

    (A dip between two steps of the first search is passed over.)
    """
    tried = limit * np.linspace(0, 1, STEPS + 1) ** 3
    for _ in range(SEARCHES):
        over = tried - error(tried)
        over[0] = min(over[0], 0.0)
        beyond = np.flatnonzero(over > 0)
        if not len(beyond):
            return float(tried[-1])
        (near, far), (short, past) = (of[beyond[0] - 1 : beyond[0] + 1] for of in (tried, over))
        tried = np.linspace(near, far, STEPS + 1)
    return float(near - short * (far - near) / (past - short))


def _noise_reach(parts: Sequence[Part], pull: Array, confidence: float) -> Array:
    """Return how far noise alone takes the estimate, against the direction of ``pull``.

    The noise of one part is that of *F*, which is skewed: upwards it goes further. That of a sum
    has the parts' joint degrees of freedom (Satterthwaite, 1946), and the parts' reaches add as
    independent ones do.

    Args:
        parts: of the whole.
        pull: by what the parts' errors count, [truths, parts].
        confidence: of the interval.
    """
    from scipy.special import fdtri  # a quarter of a second to import

    own, known = (np.array([getattr(part, name) for part in parts], dtype=float)
                  for name in ("directions", "per_direction"))  # fmt: skip
    squares = (pull * [part.noise for part in parts]) ** 2 / own
    total = squares.sum(axis=1, keepdims=True)
    squares = np.where(total > 0, squares, 1.0)  # any degrees do where there is no noise
    joint = squares.sum(axis=1, keepdims=True) ** 2 / (squares**2 / own).sum(axis=1, keepdims=True)
    second = joint * squares.sum(axis=1, keepdims=True) / (squares / known).sum(1, keepdims=True)
    upper, lower = (
        abs(fdtri(joint, second, p) - 1) for p in ((1 + confidence) / 2, (1 - confidence) / 2)
    )
    # A truth further up (pull > 0) is missed by noise that went down.
    reach = np.where(pull > 0, lower, upper)
    return np.asarray(np.sqrt(np.where(total > 0, joint * squares * reach**2, 0).sum(axis=1)))
