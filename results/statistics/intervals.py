"""Intervals over seeds: networks of one seed are dependent, and seeds are what is independent.

Those of variance shares are in `results.statistics.share_intervals`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from results.statistics.design import Array

Index = NDArray[np.intp]


def t_quantile(confidence: float, degrees: int) -> float:
    """Return how many standard errors a two-sided Student's t interval reaches."""
    from scipy.special import stdtrit  # a quarter of a second to import

    return float(stdtrit(degrees, (1 + confidence) / 2))


def mean_interval(values: Array, confidence: float = 0.95) -> tuple[float, float]:
    """Return Student's t interval of a mean; NaN for fewer than two values."""
    if len(values) < 2:
        return float("nan"), float("nan")
    error = values.std(ddof=1) / np.sqrt(len(values))
    reach = t_quantile(confidence, len(values) - 1) * error
    return float(values.mean() - reach), float(values.mean() + reach)


def jackknife_interval(
    estimate: Callable[[Index], Array], seeds: int, whole: Array, confidence: float
) -> tuple[Array, Array]:
    """Return the delete-one-seed jackknife interval of an estimate around ``whole``.

    Student's t of the pseudo-values (Arvesen, 1969).

    ``estimate`` is given the indices of the seeds to use, and needs two at least. With fewer than
    three seeds nothing can be left out, and the interval is NaN.
    """
    if seeds < 3:
        return np.full_like(whole, np.nan), np.full_like(whole, np.nan)
    every = np.arange(seeds)
    without = np.stack([estimate(np.delete(every, s)) for s in every])
    pseudo = seeds * whole - (seeds - 1) * without
    error = pseudo.std(axis=0, ddof=1) / np.sqrt(seeds)
    reach = t_quantile(confidence, seeds - 1) * error
    return whole - reach, whole + reach
