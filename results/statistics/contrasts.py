"""Means and differences in accuracy points, with the seed as the block."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from results.statistics.intervals import t_quantile
from results.tables.schema import FACTORS


def level_means(
    trials: pd.DataFrame,
    metric: str,
    by: Sequence[str],
    block: str = "seed",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return the mean of a metric for every combination of levels of ``by``, in accuracy points.

    Returns:
        The levels, ``mean`` of the seeds' means with Student's t interval ``low`` to ``high``, NaN
        with one seed; ``seeds`` and ``trials``, how many.
    """
    done = _done(trials, metric)
    points = done.assign(_points=100 * done[metric])
    return _by_levels(points, by, block, confidence, "trials")


def paired_difference(
    trials: pd.DataFrame,
    metric: str,
    factor: str,
    first: object,
    second: object,
    by: Sequence[str] = (),
    block: str = "seed",
    confidence: float = 0.95,
    equal: tuple[str, float] | None = None,
) -> pd.DataFrame:
    """Return ``first`` minus ``second`` of a factor, paired by cell and seed, in accuracy points.

    Args:
        trials: rows of ``trials``, of one data set.
        metric: the column that is compared.
        factor: the one that the two levels are of.
        first: a level.
        second: the level that is taken off.
        by: factors within whose levels pairs are counted apart; all together where empty.
        block: the column whose levels are independent repetitions.
        confidence: of the intervals.
        equal: a column and how far a pair may differ in it, such as ``("params_removed", 0.01)``;
            other pairs do not count.

    Returns:
        The levels of ``by``, ``mean`` with Student's t interval ``low`` to ``high`` over the seeds'
        mean differences, ``seeds`` and ``pairs``, how many.
    """
    done = _done(trials, metric)
    cell = [name for name in (*FACTORS, block) if name in done and name != factor]
    wide = done.pivot_table(index=cell, columns=factor, values=metric, observed=True)
    if first not in wide or second not in wide:
        return pd.DataFrame(columns=[*by, "mean", "low", "high", "seeds", "pairs"])
    gap = (100 * (wide[first] - wide[second])).dropna()
    if equal is not None:
        size = done.pivot_table(index=cell, columns=factor, values=equal[0], observed=True)
        apart = (size[first] - size[second]).abs().reindex(gap.index)
        gap = gap[apart <= equal[1]]
    pairs = gap.rename("_points").reset_index()
    return _by_levels(pairs, by, block, confidence, "pairs")


def _done(trials: pd.DataFrame, metric: str) -> pd.DataFrame:
    return trials[(trials["status"] == "done") & trials[metric].notna()]


def _by_levels(
    points: pd.DataFrame, by: Sequence[str], block: str, confidence: float, count: str
) -> pd.DataFrame:
    """Return the mean of ``_points`` and its interval over seeds, by levels."""
    within = ["_all"] if not by else list(by)
    points = points.assign(_all=0) if not by else points
    means = points.groupby([*within, block], sort=True)["_points"].mean()
    grouped = means.groupby(level=within, sort=True)
    table = grouped.agg(mean="mean", seeds="count", _spread="std").reset_index()
    seeds = table["seeds"].to_numpy()
    error = table.pop("_spread").to_numpy(dtype=float) / np.sqrt(seeds)
    reach = np.array([t_quantile(confidence, n - 1) if n > 1 else np.nan for n in seeds]) * error
    table["low"], table["high"] = table["mean"] - reach, table["mean"] + reach
    table[count] = points.groupby(within, sort=True).size().to_numpy()
    return table[[*by, "mean", "low", "high", "seeds", count]]
