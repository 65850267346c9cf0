"""Means and differences in accuracy points, with the seed as the block."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from results.errors import AnalysisError, allowed
from results.statistics.design.design import make_design, metrics_of, varying_factors
from results.statistics.design.failures import at_chance
from results.statistics.design.intervals import mean_estimate, t_quantile
from results.statistics.design.least_squares import whole
from results.statistics.design.units import points
from results.tables.schema import FACTORS


def level_means(
    trials: pd.DataFrame,
    metric: str,
    by: str | Sequence[str],
    block: str = "seed",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return the mean of a metric for every combination of levels of ``by``, in accuracy points.

    Means of factors are over the same cells for every level, so that they differ as
    `results.level_effects` do: what is missing is predicted (`results.statistics.design.missing`).

    Args:
        trials: rows of ``trials``, of one data set.
        metric: the column whose means are wanted.
        by: a column, or several.
        block: the column whose levels are independent repetitions.
        confidence: of the intervals.

    Returns:
        The levels, ``mean`` of the seeds' means with Student's t interval ``low`` to ``high``, NaN
        with one seed; ``seeds`` and ``trials``, how many.

    Raises:
        AnalysisError: for an unknown column.
    """
    by = [by] if isinstance(by, str) else list(by)
    if unknown := [name for name in by if name not in trials]:
        raise AnalysisError(f"no column {', '.join(unknown)} in trials")
    trials, _ = at_chance(trials, metric)
    done = _done(trials, metric)
    if not by or not set(by) <= set(FACTORS):
        return points(_by_levels(done.assign(_points=100 * done[metric]), by, block, confidence,
                                 "trials"))  # fmt: skip
    design = make_design(
        trials, metric, list(dict.fromkeys([*varying_factors(trials), *by])), block
    )
    axes = [design.factors.index(name) for name in by]
    others = tuple(axis for axis in range(len(design.factors)) if axis not in axes)
    order = [*axes, *others]
    values = 100 * np.transpose(whole(design), [*order, len(order)])
    there = np.transpose(design.there, order)
    counts = done.groupby(by).size()
    rows = []
    for place in itertools.product(*(range(len(design.levels[axis])) for axis in axes)):
        if not there[place].any():
            continue
        levels = tuple(design.levels[axis][i] for axis, i in zip(axes, place, strict=True))
        of_seeds = values[place].reshape(-1, len(design.seeds)).mean(axis=0)
        found = mean_estimate(of_seeds, confidence, design.degrees)
        count = counts.get(levels if len(by) > 1 else levels[0], 0)
        rows.append((*levels, *found, len(design.seeds), int(count)))
    return points(pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "seeds", "trials"]))


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

    Raises:
        AnalysisError: There is no such metric, or no such level.
    """
    for level in (first, second):
        if level not in (levels := trials[factor].unique().tolist()):
            raise AnalysisError(f"{factor} has no level {level!r}; {allowed(level, levels)}")
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
    if metric not in trials:
        raise AnalysisError(f"no metric {metric!r}; {allowed(metric, metrics_of(trials))}")
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
