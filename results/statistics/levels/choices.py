"""What to choose: the best cell of each level, judged where it was not chosen; and curves."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from results.errors import AnalysisError
from results.statistics.design.design import make_design
from results.statistics.design.intervals import mean_estimate
from results.statistics.design.units import points
from results.statistics.levels.contrasts import level_means


def best(
    trials: pd.DataFrame,
    metric: str,
    by: str | Sequence[str] = (),
    block: str = "seed",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return the best cell of every combination of levels of ``by``, in accuracy points.

    What is best of many is partly lucky: ``mean`` is of the cells that the other seeds chose,
    judged at the seed left out.

    Args:
        trials: rows of ``trials``, of one data set.
        metric: the column that is to be high.
        by: a factor, or several; the best of all where empty.
        block: the column whose levels are independent repetitions.
        confidence: of the intervals.

    Returns:
        A row a combination: its levels and those of the best cell, ``seen`` (that cell's own mean),
        ``mean`` with Student's t interval ``low`` to ``high``, ``seeds``.

    Raises:
        AnalysisError: with fewer than two seeds, or for an unknown factor.
    """
    by = [by] if isinstance(by, str) else list(by)
    design = make_design(trials, metric, None, block)
    if unknown := [name for name in by if name not in design.factors]:
        there = ", ".join(design.factors)
        raise AnalysisError(f"{', '.join(unknown)} does not vary; what does: {there}")
    seeds = len(design.seeds)
    if seeds < 2:
        raise AnalysisError("1 seed cannot both choose a cell and judge it; run at least 2")
    axes = [design.factors.index(name) for name in by]
    others = [axis for axis in range(len(design.factors)) if axis not in axes]
    values = 100 * np.transpose(design.values, [*axes, *others, len(design.factors)])
    choices = [design.levels[axis] for axis in others]
    rows = []
    for place in itertools.product(*(range(len(design.levels[axis])) for axis in axes)):
        cells = values[place].reshape(-1, seeds)
        run = np.flatnonzero(~np.isnan(cells).any(axis=1))
        if not len(run):
            continue
        cells = cells[run]
        chosen = int(cells.mean(axis=1).argmax())
        judged = [cells[np.delete(cells, s, axis=1).mean(axis=1).argmax(), s] for s in range(seeds)]
        found = mean_estimate(np.array(judged), confidence, design.degrees)
        levels = [design.levels[axis][i] for axis, i in zip(axes, place, strict=True)]
        which = np.unravel_index(run[chosen], [len(of) for of in choices])
        levels += [of[int(i)] for of, i in zip(choices, which, strict=True)]
        rows.append((*levels, float(cells[chosen].mean()), *found, seeds))
    names = [*by, *(design.factors[axis] for axis in others)]
    return points(pd.DataFrame(rows, columns=[*names, "seen", "mean", "low", "high", "seeds"]))


def curves(
    trials: pd.DataFrame,
    metric: str,
    by: str = "criterion",
    along: str = "sparsity",
    block: str = "seed",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return a curve for every level of a factor: its means along another; see `level_means`."""
    return level_means(trials, metric, [by, along], block, confidence)
