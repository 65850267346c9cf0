"""Performance profiles: how many of a level's trials reach an accuracy."""

from __future__ import annotations

import numpy as np
import pandas as pd

from results.errors import AnalysisError
from results.statistics.design.design import make_design
from results.statistics.design.intervals import mean_estimate
from results.statistics.design.least_squares import whole
from results.statistics.design.units import united

STEPS = 41
"""Accuracies at which profiles are told."""


def performance_profile(
    trials: pd.DataFrame,
    metric: str,
    by: str = "criterion",
    block: str = "seed",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return which share of a level's cells and seeds reaches each accuracy, all cells alike.

    Where one level's profile lies above another's everywhere it is better whatever accuracy is
    wanted (stochastic dominance); a mean would hide where they cross.

    Returns:
        A row a level and accuracy: the level, ``accuracy`` in points, ``share`` of trials that
        reach it, with Student's t interval ``low`` to ``high`` over the seeds' shares.

    Raises:
        AnalysisError: for a factor that does not vary.

    Source:
        Dolan and More, 2002; Agarwal et al., 2021 (arXiv 2108.13264).
    """
    design = make_design(trials, metric, None, block)
    if by not in design.factors:
        raise AnalysisError(f"{by} does not vary; what does: {', '.join(design.factors)}")
    values = 100 * np.moveaxis(whole(design), design.factors.index(by), 0)
    grid = np.linspace(values.min(), values.max(), STEPS)
    rows = []
    for level, of_level in zip(design.levels[design.factors.index(by)], values, strict=True):
        cells = of_level.reshape(-1, len(design.seeds))
        for accuracy in grid:
            reached = (cells >= accuracy).mean(axis=0)
            found = mean_estimate(reached, confidence, design.degrees)
            low, high = (float(np.clip(end, 0, 1)) for end in found[1:])
            rows.append((level, float(accuracy), found.value, low, high))
    table = pd.DataFrame(rows, columns=[by, "accuracy", "share", "low", "high"])
    return united(table, "of the trials", share="of the trials")
