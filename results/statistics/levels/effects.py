"""Effects in accuracy points: of each level, and of choosing the worst instead of the best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from results.errors import AnalysisError
from results.statistics.design.design import Array, Design, make_design
from results.statistics.design.intervals import mean_estimate
from results.statistics.design.least_squares import main_effects
from results.statistics.design.units import points


def level_effects(
    trials: pd.DataFrame,
    metric: str,
    factors: Sequence[str] | None = None,
    block: str = "seed",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return how far each level lies from the mean of its factor's levels, in accuracy points.

    Main effects: means over all cells in a complete design, the additive model's least squares in
    one with holes.

    Returns:
        A row a level: ``factor``, ``level``, ``effect`` with Student's t interval ``low`` to
        ``high`` over the seeds' effects, ``seeds``.
    """
    design = make_design(trials, metric, factors, block)
    rows = []
    for axis, factor in enumerate(design.factors):
        for level, of_seeds in zip(design.levels[axis], by_level(design, factor), strict=True):
            effect = mean_estimate(of_seeds, confidence, design.degrees)
            rows.append((factor, str(level), *effect, len(design.seeds)))
    columns = ["factor", "level", "effect", "low", "high", "seeds"]
    return points(pd.DataFrame(rows, columns=columns))


def cost_of_choice(
    trials: pd.DataFrame,
    metric: str,
    factors: Sequence[str] | None = None,
    block: str = "seed",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return what choosing the worst level of a factor costs against the best, in accuracy points.

    The levels are chosen by the other seeds and compared at the one left out, so that the luck by
    which a level was chosen does not count as its merit.

    Returns:
        A row a factor: ``best`` and ``worst`` over all seeds; ``cost``, one choice for all cells,
        with Student's t interval ``low`` to ``high``; ``cost_within``, the choice made anew in
        every cell of the other factors, with ``within_low`` and ``within_high``.

    Raises:
        AnalysisError: with fewer than two seeds.
    """
    design = make_design(trials, metric, factors, block)
    if len(design.seeds) < 2:
        raise AnalysisError("1 seed cannot both choose a level and judge it; run at least 2")
    rows = []
    for axis, factor in enumerate(design.factors):
        levels = by_level(design, factor)
        mean = levels.mean(axis=1)
        best, worst = (str(design.levels[axis][int(i)]) for i in (mean.argmax(), mean.argmin()))
        cost = mean_estimate(_left_out(levels[None]), confidence, design.degrees)
        within = mean_estimate(_left_out(_contexts(design, axis)), confidence, design.degrees)
        rows.append((factor, best, worst, *cost, *within, len(design.seeds)))
    columns = ["factor", "best", "worst", "cost", "low", "high", "cost_within", "within_low",
               "within_high", "seeds"]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    return points(table.sort_values("cost", ascending=False, ignore_index=True))


def by_level(design: Design, factor: str) -> Array:
    """Return each level's deviation from its factor's mean at every seed, in points [levels, S]."""
    axis = design.factors.index(factor)
    if not design.complete:
        return 100 * main_effects(design)[axis]
    others = tuple(a for a in range(len(design.factors)) if a != axis)
    means = design.values.mean(axis=others)
    return np.asarray(100 * (means - means.mean(axis=0)))


def _contexts(design: Design, axis: int) -> Array:
    """Return accuracy points by cell of the other factors, [contexts, levels, S]; whole ones."""
    values = np.moveaxis(design.values, axis, -2)
    flat = 100 * values.reshape(-1, *values.shape[-2:])
    return np.asarray(flat[~np.isnan(flat).any(axis=(1, 2))])


def _left_out(values: Array) -> Array:
    """Return best less worst at each seed, chosen by the others: [contexts, levels, S] to [S]."""
    seeds = values.shape[-1]
    cost = np.full(seeds, np.nan)
    rows = np.arange(len(values))
    for s in range(seeds if len(values) else 0):
        others = np.delete(values, s, axis=-1).mean(axis=-1)
        best, worst = others.argmax(axis=1), others.argmin(axis=1)
        cost[s] = (values[rows, best, s] - values[rows, worst, s]).mean()
    return cost
