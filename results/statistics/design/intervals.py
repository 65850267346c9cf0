"""Intervals over seeds: networks of one seed are dependent, and seeds are what is independent.

Those of variance shares are in `results.statistics.shares.share_intervals`.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from results.statistics.design.design import Array


class Estimate(NamedTuple):
    """A value and the ends of its interval; these are NaN where none can be given."""

    value: float
    low: float
    high: float


NO_ESTIMATE = Estimate(float("nan"), float("nan"), float("nan"))


@functools.lru_cache
def t_quantile(confidence: float, degrees: float) -> float:
    """Return how many standard errors a two-sided Student's t interval reaches."""
    from scipy.special import stdtrit  # a quarter of a second to import

    return float(stdtrit(degrees, (1 + confidence) / 2))


def mean_estimate(
    values: Array, confidence: float = 0.95, degrees: float | None = None
) -> Estimate:
    """Return a mean with its Student's t interval; none for fewer than two values.

    ``degrees`` of freedom are one less than there are values where left out.
    """
    mean = float(values.mean())
    if len(values) < 2:
        return NO_ESTIMATE._replace(value=mean)
    error = values.std(ddof=1) / np.sqrt(len(values))
    degrees = len(values) - 1 if degrees is None else degrees
    reach = float(t_quantile(confidence, degrees) * error)
    return Estimate(mean, mean - reach, mean + reach)
