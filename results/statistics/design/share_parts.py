"""The parts of the variance between cells, and what each is uncertain by; for their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from results.statistics.design.design import Array


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


@dataclass(frozen=True)
class Part:
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
    def of(cls, term: Term, whole: float, parts: int) -> Part:
        """Return a term as one of some parts of the whole variance."""
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

    def with_images(self, noise: float, directions: float, along: Array) -> Part:
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


def parts_of(terms: Sequence[Term], total: Array, images: ImageScatter | None = None) -> list[Part]:
    """Return the terms, and all others together, as parts of the whole."""
    rest = Term(total - sum(term.gram for term in terms), np.iinfo(np.int32).max)
    every = [*terms, rest]
    extra = images.noise if images is not None else np.zeros(len(every))
    whole = float(variances(total) - extra.sum())
    parts = [Part.of(term, whole, len(every)) for term in every]
    if images is None:
        return parts
    along = images.along / whole**2
    return [
        part.with_images(noise / whole, directions, row)
        for part, noise, directions, row in zip(
            parts, images.noise, images.directions, along, strict=True
        )
    ]
