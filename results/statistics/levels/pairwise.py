"""Every level against every other: differences, equivalence, corrected for their number."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from results.errors import AnalysisError
from results.statistics.design.design import Array, make_design
from results.statistics.design.intervals import mean_estimate, t_quantile
from results.statistics.design.units import points

MARGIN = 0.5
"""Accuracy points: levels that differ by less are as good as equal."""
ALPHA = 0.05


def compare_levels(
    trials: pd.DataFrame,
    metric: str,
    factor: str = "criterion",
    margin: float = MARGIN,
    block: str = "seed",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Compare every two levels of a factor, paired by cell and seed, in accuracy points.

    Returns:
        A row a pair: ``first``, ``second``, ``mean`` (first less second) with Student's t interval
        over the seeds' mean differences, ``p`` of no difference, ``p_equal`` of a difference of at
        least ``margin`` (two one-sided tests), all after Holm's correction over all pairs, and
        ``finding``: different, equivalent, or undecided. An interval has zero outside it where
        ``p`` is under one less the confidence, and nowhere else.

    Source:
        Schuirmann, 1987 (equivalence); Holm, 1979 (correction).

    Raises:
        AnalysisError: with fewer than two seeds, or where the factor has one level.
    """
    from scipy.special import stdtr  # a quarter of a second to import

    design = make_design(trials, metric, None, block)
    if factor not in design.factors:
        raise AnalysisError(f"{factor} has one level alone: nothing to compare")
    if len(design.seeds) < 2:
        raise AnalysisError("1 seed gives no test; run at least 2")
    axis = design.factors.index(factor)
    values = 100 * np.moveaxis(design.values, axis, 0)
    degrees = len(design.seeds) - 1 if design.degrees is None else design.degrees
    rows = []
    for i, j in itertools.combinations(range(len(design.levels[axis])), 2):
        gap = _by_seed(values[i] - values[j])
        if np.isnan(gap).any():
            continue  # the two share no cell
        constant = bool(np.ptp(gap) < 1e-12)  # deterministic: no test, and none needed
        mean = mean_estimate(gap, confidence, degrees)
        error, far = gap.std(ddof=1) / np.sqrt(len(gap)), abs(mean.value)
        if constant:
            p, p_equal = float(mean.value == 0), float(far >= margin)
        else:
            p, p_equal = 2 * stdtr(degrees, -far / error), stdtr(degrees, (far - margin) / error)
        first, second = (str(design.levels[axis][level]) for level in (i, j))
        rows.append((factor, first, second, *mean, p, p_equal))
    columns = ["factor", "first", "second", "mean", "low", "high", "p", "p_equal"]
    return judged(pd.DataFrame(rows, columns=columns), degrees, confidence)


def judged(table: pd.DataFrame, degrees: float, confidence: float) -> pd.DataFrame:
    """Correct ``p`` (and ``p_equal``) and the intervals by Holm's method; say what each row finds.

    Args:
        table: rows with ``mean``, ``low``, ``high`` and ``p``, uncorrected.
        degrees: of freedom of the intervals.
        confidence: theirs.
    """
    table = table.reset_index(drop=True)
    if len(table) > 1:
        wider = _holm_reach(table["p"].to_numpy(dtype=float), degrees, confidence)
        table = table.assign(
            low=table["mean"] + wider * (table["low"] - table["mean"]),
            high=table["mean"] + wider * (table["high"] - table["mean"]),
        )
        columns = [name for name in ("p", "p_equal") if name in table]
        table = table.assign(**{n: holm(table[n].to_numpy(dtype=float)) for n in columns})
    if table.empty:
        return points(table.assign(finding=pd.Series(dtype=str)))
    finding = np.where(table["p"] < ALPHA, "different", "undecided")
    if "p_equal" in table:
        finding = np.where(table["p_equal"] < ALPHA, "equivalent", finding)
    return points(table.assign(finding=finding))


def holm(p: Array) -> Array:
    """Return p-values [m] by Holm's method: the k-th smallest times m - k + 1, none falling, <= 1.

    Source:
        Holm, 1979.
    """
    order = np.argsort(p)
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return corrected


def _holm_reach(p: Array, degrees: float, confidence: float) -> Array:
    """Return by how much each interval widens to say what Holm's p-value does.

    The k-th smallest of m p-values is compared with a (m - k + 1)-th of what may be missed; those
    from the first that is not below it on, with what that one is compared with.
    """
    missed, count = 1 - confidence, len(p)
    order = np.argsort(p)
    parts = count - np.arange(count)
    open_from = np.flatnonzero(p[order] >= missed / parts)
    if len(open_from):
        parts[open_from[0] :] = parts[open_from[0]]
    reach = np.empty(count)
    reach[order] = [t_quantile(1 - missed / part, degrees) for part in parts]
    return reach / t_quantile(confidence, degrees)


def _by_seed(gap: Array) -> Array:
    """Return the mean over the cells that both levels have, by seed."""
    flat = gap.reshape(-1, gap.shape[-1])
    both = flat[~np.isnan(flat).any(axis=1)]
    return np.asarray(both.mean(axis=0) if len(both) else np.full(gap.shape[-1], np.nan))
