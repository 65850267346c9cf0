"""Means and differences in accuracy points, with the seed as the block."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from results.intervals import mean_interval
from results.schema import FACTORS


def level_means(
    trials: pd.DataFrame,
    metric: str,
    by: Sequence[str],
    block: str = "seed",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return the mean of a metric for every combination of levels of ``by``, in accuracy points.

    Means are taken within each seed first; ``low`` and ``high`` are Student's t interval over the
    seeds' means, NaN with one seed. ``trials`` is the number of rows.
    """
    done = trials[(trials["status"] == "done") & trials[metric].notna()]
    rows = []
    for levels, group in done.groupby(list(by), sort=True):
        seeds = 100 * group.groupby(block)[metric].mean().to_numpy(dtype=float)
        low, high = mean_interval(seeds, confidence)
        named = dict(zip(by, levels if isinstance(levels, tuple) else (levels,), strict=True))
        rows.append(
            {**named, "mean": seeds.mean(), "low": low, "high": high,
             "seeds": len(seeds), "trials": len(group)}
        )  # fmt: skip
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "seeds", "trials"])


def paired_difference(
    trials: pd.DataFrame,
    metric: str,
    factor: str,
    first: object,
    second: object,
    by: Sequence[str] = (),
    block: str = "seed",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return ``first`` minus ``second`` of a factor, paired by cell and seed, in accuracy points.

    One row for each combination of levels of ``by`` (one row in all where it is empty): ``mean``
    with Student's t interval over the seeds' mean differences, and ``pairs``, how many.
    """
    done = trials[(trials["status"] == "done") & trials[metric].notna()]
    cell = [name for name in (*FACTORS, block) if name in done and name != factor]
    wide = done.pivot_table(index=cell, columns=factor, values=metric, observed=True)
    if first not in wide or second not in wide:
        return pd.DataFrame(columns=[*by, "mean", "low", "high", "seeds", "pairs"])
    gap = (100 * (wide[first] - wide[second])).dropna().rename("gap").reset_index()
    groups = gap.groupby(list(by), sort=True) if by else [((), gap)]
    rows = []
    for levels, group in groups:
        seeds = group.groupby(block)["gap"].mean().to_numpy(dtype=float)
        low, high = mean_interval(seeds, confidence)
        named = dict(zip(by, levels if isinstance(levels, tuple) else (levels,), strict=True))
        rows.append(
            {**named, "mean": seeds.mean(), "low": low, "high": high,
             "seeds": len(seeds), "pairs": len(group)}
        )  # fmt: skip
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "seeds", "pairs"])
