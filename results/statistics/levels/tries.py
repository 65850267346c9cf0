"""The expected best of a number of tries: what searching longer gains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from results.errors import AnalysisError
from results.statistics.design.design import Array, make_design
from results.statistics.design.intervals import mean_estimate
from results.statistics.design.units import points

TRIES = (1, 2, 4, 8, 16)


def expected_best(
    trials: pd.DataFrame,
    metric: str,
    by: str = "criterion",
    tries: Sequence[int] = TRIES,
    block: str = "seed",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return the accuracy that is to be expected of the best of some cells, drawn at random.

    Cells are those of one level of ``by``, drawn with replacement. Which is best, the other seeds
    say; it is judged at the one left out, so that luck is no merit.

    Returns:
        A row a level and number of tries: the level, ``tries``, ``mean`` in accuracy points with
        Student's t interval ``low`` to ``high``, ``seeds``.

    Raises:
        AnalysisError: with fewer than two seeds, or for a factor that does not vary.

    Source:
        Dodge et al., 2019 (arXiv 1909.03004).
    """
    design = make_design(trials, metric, None, block)
    if by not in design.factors:
        raise AnalysisError(f"{by} does not vary; what does: {', '.join(design.factors)}")
    if len(design.seeds) < 2:
        raise AnalysisError("1 seed cannot both choose a cell and judge it; run at least 2")
    axis = design.factors.index(by)
    rows = []
    for level, values in zip(design.levels[axis], np.moveaxis(design.values, axis, 0), strict=True):
        flat = 100 * values.reshape(-1, len(design.seeds))
        cells = flat[~np.isnan(flat).any(axis=1)]
        if not len(cells):  # none was run at every seed
            continue
        for count in tries:
            found = mean_estimate(best_of(cells, count), confidence, design.degrees)
            rows.append((level, count, *found, len(design.seeds)))
    return points(pd.DataFrame(rows, columns=[by, "tries", "mean", "low", "high", "seeds"]))


def best_of(values: Array, tries: int) -> Array:
    """Return at each seed what the best of some draws of [n, S] has, chosen by the other seeds."""
    ranks = np.arange(len(values) + 1) / len(values)
    weights = np.diff(ranks**tries)  # that the best of the draws is the i-th from below
    found = []
    for s in range(values.shape[1]):
        order = np.delete(values, s, axis=1).mean(axis=1).argsort()
        found.append(weights @ values[order, s])
    return np.array(found)
