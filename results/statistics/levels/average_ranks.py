"""Average ranks of a factor's levels, and how far apart they must lie: Demsar's diagram."""

from __future__ import annotations

import numpy as np
import pandas as pd

from results.errors import AnalysisError
from results.statistics.design.design import make_design
from results.statistics.design.least_squares import whole
from results.statistics.design.units import UNITS, united


def average_ranks(
    trials: pd.DataFrame,
    metric: str,
    of: str = "criterion",
    block: str = "seed",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return each level's rank, the mean over all cells of the other factors and over seeds.

    Ranks of one seed depend on each other, so that seeds are the repetitions of Friedman's and of
    Nemenyi's test, and not cells, as is usual where a row is another data set. Both take ranks to
    scatter as single ones do; means over many cells scatter less, so that they are careful ones.

    Returns:
        A row a level, the best first: the level, ``rank`` (1 is the best), ``apart``: the critical
        difference, by which two ranks must lie apart, ``p`` of Friedman's test that all are alike,
        ``seeds``.

    Raises:
        AnalysisError: with fewer than two seeds or three levels.

    Source:
        Demsar, 2006. Statistical comparisons of classifiers over multiple data sets. JMLR 7.
    """
    design = make_design(trials, metric, None, block)
    levels = design.levels[design.factors.index(of)] if of in design.factors else ()
    seeds, count = len(design.seeds), len(levels)
    if seeds < 2 or count < 3:
        raise AnalysisError(
            f"average ranks need three levels of {of} and two seeds; there are {count} and {seeds}"
        )
    from scipy.special import chdtrc  # a quarter of a second to import

    moved = np.moveaxis(whole(design), design.factors.index(of), 0)
    mean = pd.DataFrame(-moved.reshape(count, -1)).rank().mean(axis=1).to_numpy()
    friedman = 12 * seeds / (count * (count + 1)) * ((mean - (count + 1) / 2) ** 2).sum()
    apart = range_quantile(confidence, count) * np.sqrt(count * (count + 1) / (12 * seeds))
    table = pd.DataFrame({
        of: levels, "rank": mean, "apart": float(apart),
        "p": float(chdtrc(count - 1, friedman)), "seeds": seeds,
    })  # fmt: skip
    table = table.sort_values("rank", kind="stable", ignore_index=True)
    return united(table, UNITS["rank"])


def range_quantile(confidence: float, count: int) -> float:
    """Return a quantile of the range of so many standard normal numbers.

    It is that of the studentized range with infinite degrees of freedom. (scipy.stats has it too,
    and takes half a second to import.)
    """
    from scipy.special import ndtr

    largest, step = np.linspace(-9, 9, 401, retstep=True)
    density = count * np.exp(-(largest**2) / 2) / np.sqrt(2 * np.pi) * step
    low, high = 0.0, 18.0
    for _ in range(60):
        middle = (low + high) / 2
        within = density @ (ndtr(largest) - ndtr(largest - middle)) ** (count - 1)
        low, high = (middle, high) if within < confidence else (low, middle)
    return high
