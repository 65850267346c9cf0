"""Robustness against size: which cells no other beats at no more parameters or MACs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from results.statistics.design.design import Array, varying_factors
from results.statistics.design.units import points
from results.statistics.levels.contrasts import level_means

SIZES = ("params", "macs")


def pareto_front(trials: pd.DataFrame, metric: str, block: str = "seed") -> pd.DataFrame:
    """Return every cell's mean accuracy and size, and whether it lies on the Pareto front.

    The front is of means: cells whose intervals reach it may belong to it too.

    Returns:
        A row a cell: the varying factors, ``mean`` in accuracy points with its interval over seeds,
        ``params`` and ``macs`` of the pruned network (means over seeds), ``front_params`` and
        ``front_macs``; empty where no factor varies or sizes are missing.
    """
    factors = varying_factors(trials)
    done = trials[(trials["status"] == "done") & trials[metric].notna()]
    sizes = [name for name in SIZES if name in done and done[name].notna().all()]
    if not factors or not sizes:
        return pd.DataFrame()
    table = level_means(done, metric, factors, block)
    table = table.merge(done.groupby(factors)[sizes].mean().reset_index(), on=factors)
    for name in sizes:
        table[f"front_{name}"] = _front(table[name].to_numpy(float), table["mean"].to_numpy(float))
    return points(table)


def _front(size: Array, gain: Array) -> Array:
    """Return which points no other beats: smaller or as small, and better."""
    order = np.lexsort((-gain, size))
    best = np.maximum.accumulate(gain[order])
    first = np.r_[True, best[1:] > best[:-1]]
    unbeaten = np.zeros(len(size), dtype=bool)
    unbeaten[order] = first
    return unbeaten
