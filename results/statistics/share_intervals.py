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
`results.statistics.images`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from results.statistics.design import Array
from results.statistics.intervals import NO_ESTIMATE, Estimate, t_quantile

STEPS, SEARCHES = 16, 3
"""An end is searched in as many steps, and as often within the one found; then all is straight."""


class Term(NamedTuple):
    """What the decomposition keeps of a term: a few numbers a seed, whatever the design's size."""

    gram: Array
    """Inner products of its effects between seeds, [S, S], by cell."""
    degrees: int
    """Its degrees of freedom: in how many directions its effects can lie."""


class ImageScatter(NamedTuple):
    """What the choice of test images adds to the errors of some parts of the variance."""

    noise: Array
    """The variance of each part's mean effect, [parts]: it is in the effect's square as well."""
    directions: Array
    """In how many directions that lies (Box, 1954), [parts]."""
    along: Array
    """The covariance of the parts' errors along their effects, [parts, parts]."""


def variances(grams: Array) -> Array:
    """Return the unbiased variance between cells of each of a stack of grams [..., S, S]."""
    seeds = grams.shape[-1]
    different = grams.sum((-1, -2)) - np.trace(grams, axis1=-2, axis2=-1)
    return np.asarray(different / (seeds * (seeds - 1)))


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
        _estimate(_parts([term], total), (1, 0), confidence, degrees, bounds=(0, 1))
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
    parts = _parts([first, second], total)
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
    parts = _parts(pair, total, images)
    return (
        _estimate(parts, (1, -1, 0), confidence, degrees, bounds=(-1, 1)),
        _estimate(parts, (1, 0, 0), confidence, degrees, bounds=(0, 1)),
        _estimate(parts, (0, 1, 0), confidence, degrees, bounds=(0, 1)),
    )


def _parts(terms: Sequence[Term], total: Array, images: ImageScatter | None = None) -> list[_Part]:
    """Return the terms, and all others together, as parts of the whole."""
    rest = Term(total - sum(term.gram for term in terms), np.iinfo(np.int32).max)
    every = [*terms, rest]
    extra = images.noise if images is not None else np.zeros(len(every))
    whole = float(variances(total) - extra.sum())
    parts = [_Part.of(term, whole, len(every)) for term in every]
    if images is None:
        return parts
    along = images.along / whole**2
    return [
        part.with_images(noise / whole, directions, row)
        for part, noise, directions, row in zip(
            parts, images.noise, images.directions, along, strict=True
        )
    ]


def _estimate(
    parts: Sequence[_Part],
    weights: Sequence[int],
    confidence: float,
    degrees: float | None,
    bounds: tuple[float, float],
) -> Estimate:
    """Return the weighted sum of the parts' shares with its interval.

    A difference leaves open how large its shares are: they are taken where they lie closest to the
    estimates. Nothing is cut off that holds the estimate.
    """
    seeds = len(parts[0].slopes)
    estimate = sum(w * part.share for w, part in zip(weights, parts, strict=True))
    if seeds < 3:
        return NO_ESTIMATE._replace(value=estimate)
    t = t_quantile(confidence, seeds - 1 if degrees is None else degrees)
    z = t_quantile(confidence, math.inf)
    uncertain = np.array([abs(w) * part.noise / math.sqrt(part.directions)
                          for w, part in zip(weights, parts, strict=True)])  # fmt: skip
    even = np.abs(weights) / np.abs(weights).sum()  # without noise any split does
    split = uncertain / uncertain.sum() if uncertain.sum() > 0 else even

    slopes = np.stack([part.slopes for part in parts])
    covariance = np.stack([part.images for part in parts])

    def error(away: Array, direction: int) -> Array:
        """Return how far the estimate may lie from truths that are ``away`` from it, [truths]."""
        pull = np.array(weights) - (estimate + direction * away)[:, None]
        moved = direction * away[:, None] * split * weights
        sizes = (
            pull * np.stack([p.scale(p.share + m) for p, m in zip(parts, moved.T, strict=True)]).T
        )
        by_seed = np.var(sizes @ slopes, axis=1, ddof=1) / seeds
        by_image = np.einsum("tp,pq,tq->t", sizes, covariance, sizes)
        noise = _noise_reach(parts, direction * pull, confidence)
        return np.asarray(np.sqrt(t**2 * by_seed + z**2 * np.maximum(by_image, 0) + noise**2))

    lowest, highest = min(bounds[0], estimate), max(bounds[1], estimate)
    low = estimate - _first_beyond(lambda away: error(away, -1), estimate - lowest)
    high = estimate + _first_beyond(lambda away: error(away, 1), highest - estimate)
    return Estimate(estimate, float(low), float(high))


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


@dataclass(frozen=True)
class _Part:
    """A part of the whole and what it is uncertain by, in units of the variance between cells."""

    share: float
    seen: float
    """The squared length of the mean effect: the share and what noise adds to it."""
    noise: float
    """The trace of the mean effect's covariance."""
    directions: float
    """In how many directions that lies effectively (Box, 1954): one to the term's own."""
    per_direction: float
    """Degrees of freedom by which the noise is known, a direction: of seeds, one less."""
    slopes: Array
    """What each seed adds to the error along the mean effect, [S]."""
    images: Array
    """The covariance of the images' error along it with that of every part, [parts]."""

    @classmethod
    def of(cls, term: Term, whole: float, parts: int) -> _Part:
        gram, seeds = term.gram / whole, len(term.gram)
        centred = gram - gram.mean(0) - gram.mean(1)[:, None] + gram.mean()
        trace = max(0.0, float(np.trace(centred)) / (seeds - 1))
        # Unbiased for the trace of the squared covariance, of normal effects.
        squared = (centred**2).sum() / (seeds - 1) ** 2 - trace**2 / (seeds - 1)
        squared *= (seeds - 1) ** 2 / (max(seeds - 2, 1) * (seeds + 1))
        directions = trace**2 / squared if squared * term.degrees > trace**2 else term.degrees
        return cls(
            share=float(variances(gram)),
            seen=float(gram.mean()),
            noise=trace / seeds,
            directions=float(max(directions, 1)),
            per_direction=seeds - 1,
            slopes=2 * gram.mean(1),
            images=np.zeros(parts),
        )

    def with_images(self, noise: float, directions: float, along: Array) -> _Part:
        """Return the part with what images add to its error; theirs are many."""
        both = self.noise + noise
        if both == 0:
            return replace(self, images=along)
        squares = self.noise**2 / self.directions + noise**2 / directions
        squares += 2 * self.noise * noise / max(self.directions, directions)
        known = self.noise**2 / (self.directions * self.per_direction)
        wide = both**2 / squares
        per_direction = both**2 / known / wide if known > 0 else math.inf
        return replace(
            self,
            share=self.share - noise,
            noise=both,
            directions=wide,
            per_direction=min(per_direction, 1e6),
            images=along,
        )

    def scale(self, true: Array) -> Array:
        """Return by how much errors along the effect are larger than seen, were these the share."""
        seen = self.seen if self.seen > 0 else math.inf  # no effect at any seed
        return np.sqrt(np.maximum(true, 0.0) / seen)


def _noise_reach(parts: Sequence[_Part], pull: Array, confidence: float) -> Array:
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
