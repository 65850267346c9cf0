"""From rows of ``trials`` to a factorial array, and what had to be left out for it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.errors import AnalysisError, allowed
from results.statistics.design.failures import at_chance
from results.statistics.design.missing import completed, excluded
from results.statistics.design.words import percent
from results.tables.schema import FACTORS, is_metric

Array = NDArray[np.float64]
MOST_MISSING = 0.5
"""A seed that lacks a larger share of the cells that were run is left out, not filled in."""
MOST_HOLES = 0.5
"""Levels are left out until no larger share of the cells is missing at every seed."""
FEWEST = 2
"""Trials a cell, on average, with fewer of which intervals cover too seldom."""
STRATUM = "dataset"
"""The factor whose main effect is no finding: images of one data set are harder than another's."""
GAIN = "gain_"
"""What a derived metric begins with: fine-tuned less pruned, as in ``gain_pgd_20``."""


@dataclass(frozen=True)
class Design:
    """A metric over all cells and seeds: ``values`` [levels of factor 1, ..., seeds].

    A cell of two levels that were never run together (excluded, failed throughout) is a hole: NaN
    at every seed. No other value is NaN.
    """

    factors: tuple[str, ...]
    levels: tuple[tuple[object, ...], ...]
    seeds: tuple[object, ...]
    values: Array
    notes: tuple[str, ...]
    """What was left out or predicted, and why; empty for a complete design."""
    degrees: float | None = None
    """Of freedom of the scatter of the seeds; None for one less than there are."""
    each: float = math.inf
    """How many trials a cell that was run has on average, at all seeds."""

    @property
    def there(self) -> NDArray[np.bool_]:
        """Which cells were run, [levels of factor 1, ...]."""
        return np.asarray(~np.isnan(self.values).all(axis=-1))

    @property
    def cells(self) -> int:
        """The number of cells that were run."""
        return int(self.there.sum())

    @property
    def complete(self) -> bool:
        """Whether every combination of levels was run."""
        return bool(self.there.all())

    def keeping(self, axis: int, keep: list[int]) -> Design:
        """Return the design with some levels alone of the factor on an axis."""
        levels = list(self.levels)
        levels[axis] = tuple(self.levels[axis][i] for i in keep)
        return replace(self, levels=tuple(levels), values=np.take(self.values, keep, axis))


def strata(design: Design) -> list[NDArray[np.intp]]:
    """Return the cells of each data set, of those that were run in their order; all of one."""
    if STRATUM not in design.factors:
        return [np.arange(design.cells)]
    place = np.nonzero(design.there)[design.factors.index(STRATUM)]
    return [np.flatnonzero(place == at) for at in np.unique(place)]


def too_few(design: Design) -> str:
    """Say that so few of the trials are there that the seeds carry nothing; or nothing."""
    if design.each >= FEWEST:
        return ""
    return (
        f"{len(design.seeds)} seeds do not carry one with {design.each:.1f} trials a cell, "
        f"where {FEWEST} are needed"
    )


def varying_factors(trials: pd.DataFrame) -> list[str]:
    """Return the factors with more than one level."""
    return [f for f in FACTORS if f in trials and trials[f].nunique() > 1]


def metrics_of(trials: pd.DataFrame) -> list[str]:
    """Return the metric columns that hold a number anywhere."""
    return [c for c in trials.columns if is_metric(c) and trials[c].notna().any()]


def gain_of(metric: str) -> str:
    """Return the metric's gain: of the fine-tuned network over the same one as pruned."""
    return GAIN + metric.partition("_")[2]


def stage_metrics(metric: str) -> dict[str, str]:
    """Return a metric of the fine-tuned networks, and the same one as pruned, by stage."""
    return {"pruned": metric.replace("finetuned_", "pruned_", 1), "finetuned": metric}


def with_metric(trials: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return trials that have the metric as a column: a gain is computed where it is asked for."""
    if metric in trials or not metric.startswith(GAIN):
        return trials
    of = metric.removeprefix(GAIN)
    if f"finetuned_{of}" not in trials or f"pruned_{of}" not in trials:
        return trials
    return trials.assign(**{metric: trials[f"finetuned_{of}"] - trials[f"pruned_{of}"]})


def make_design(
    trials: pd.DataFrame, metric: str, factors: Sequence[str] | None = None, block: str = "seed"
) -> Design:
    """Arrange a metric as a factorial array.

    A trial that diverged counts as chance accuracy (`results.statistics.design.failures`). One
    that is missing at some seeds is predicted by least squares, and the seeds' scatter widened
    for it (`results.statistics.design.missing`). A seed that lacks more than half of the cells
    is left out where three seeds remain. Two levels that were never run together leave holes;
    while more than half of all cells were never run, the level with the largest share of them
    is left out.

    Raises:
        AnalysisError: where nothing is left, or the factors do not tell the rows apart.
    """
    trials = with_metric(trials, metric)
    if metric not in trials:
        raise AnalysisError(f"no metric {metric!r}; {allowed(metric, metrics_of(trials))}")
    chosen = tuple(varying_factors(trials) if factors is None else factors)
    if unknown := [name for name in (*chosen, block) if name not in trials]:
        near = allowed(unknown[0], varying_factors(trials))
        raise AnalysisError(f"no column {', '.join(unknown)} in trials; factors: {near}")
    trials, counted_as = at_chance(trials, metric)
    done = trials[trials["status"] == "done"] if "status" in trials else trials
    done = done[np.isfinite(done[metric].astype(float))]
    if done.empty:
        raise AnalysisError(f"no finished trial has {metric}")
    # Levels are those that were asked for, so that one whose trials all failed counts as missing.
    columns = [*chosen, block]
    levels = [tuple(sorted(trials[name].dropna().unique())) for name in columns]
    values = _arranged(done, metric, columns, levels)
    values, kept, notes = _sound(columns, levels, values)
    if counted_as:
        notes = [counted_as, *notes]
    degrees: float | None = None
    there = ~np.isnan(values)
    holes = excluded(np.asarray(there.any(axis=-1)))
    each = float(there[there.any(axis=-1)].sum(axis=-1).mean())
    if not there[~holes].all():
        _identified(there)
        values, degrees = completed(values)
    return Design(chosen, tuple(kept[:-1]), kept[-1], values, tuple(notes), degrees, each)


def _identified(there: NDArray[np.bool_]) -> None:
    """Refuse a design whose trials are fewer than the main effects that they are to tell apart."""
    asked, run = 1 + sum(count - 1 for count in there.shape[:-1]), int(there.sum())
    if run < asked:
        raise AnalysisError(
            f"{run} trials tell nothing of {asked - 1} effects of levels; run at least {asked}"
        )


def _arranged(
    done: pd.DataFrame, metric: str, names: list[str], levels: list[tuple[object, ...]]
) -> Array:
    shape = [len(of) for of in levels]
    codes = [pd.Index(of).get_indexer(pd.Index(done[name]))
             for name, of in zip(names, levels, strict=True)]  # fmt: skip
    place = np.ravel_multi_index(codes, shape)
    rows = np.bincount(place, minlength=int(np.prod(shape)))
    if doubled := int(rows[rows > 1].sum()):
        raise AnalysisError(
            f"{doubled} trials agree in {', '.join(names)}: they differ in something "
            "that is not among the factors; name it as one, or filter the rows"
        )
    values = np.full(int(np.prod(shape)), np.nan)
    values[place] = done[metric].to_numpy(dtype=float)
    return values.reshape(shape)


def _sound(
    names: list[str], levels: list[tuple[object, ...]], values: Array
) -> tuple[Array, list[tuple[object, ...]], list[str]]:
    """Leave out what is hardly there, and say so and what is missing."""
    notes: list[str] = []
    levels = list(levels)

    def leave_out(axis: int, i: int, why: str) -> None:
        nonlocal values
        notes.append(f"{names[axis]} {levels[axis][i]} is left out: {why}")
        values = np.delete(values, i, axis)
        levels[axis] = (*levels[axis][:i], *levels[axis][i + 1 :])

    while True:
        there = ~np.isnan(values)
        run: NDArray[np.bool_] = np.asarray(there.any(axis=-1))
        lacks = 1 - there.reshape(-1, there.shape[-1]).sum(0) / max(1, run.sum())
        if (worst := _worst_level(run)) is not None:
            axis, i, share = worst
            if share == 1 or (run.mean() < 1 - MOST_HOLES and min(run.shape) > 1):
                leave_out(axis, i, "cells of it are missing" if share < 1 else "it has no trials")
                continue
        if len(lacks) > 1 and lacks.max() == 1:
            leave_out(values.ndim - 1, int(lacks.argmax()), "it has no trials")
        elif len(lacks) > 3 and lacks.max() > MOST_MISSING:
            why = f"it lacks {lacks.max():.0%} of the cells"
            leave_out(values.ndim - 1, int(lacks.argmax()), why)
        else:
            break
    holes = excluded(run)
    missing = ~there & ~holes[..., None]
    if missing.any():
        total = int((~holes).sum()) * there.shape[-1]
        of_all = percent(missing.sum() / total, 1)
        notes.append(
            f"{int(missing.sum())} of {total} trials ({of_all}) are missing at some seeds: they "
            "are predicted by least squares, and intervals are wider for it"
        )
    if holes.any():
        notes.append(
            f"{int(holes.sum())} of {run.size} cells were run at no seed (excluded, failed or not "
            "yet): shares are what each effect adds to all that do not contain it, by least squares"
        )
    return values, levels, notes


def _worst_level(run: NDArray[np.bool_]) -> tuple[int, int, float] | None:
    """Return the axis and level with the largest share of holes, and the share; None without."""
    shares = [
        (float(1 - np.take(run, i, axis).mean()), axis, i)
        for axis, count in enumerate(run.shape)
        for i in range(count)
        if count > 1
    ]
    share, axis, i = max(shares, key=lambda level: level[0], default=(0.0, 0, 0))
    return (axis, i, share) if share > 0 else None


def terms(factors: Sequence[str]) -> list[tuple[int, ...]]:
    """Return all effects as tuples of axes, main effects first."""
    axes = range(len(factors))
    return [t for order in range(1, len(factors) + 1) for t in itertools.combinations(axes, order)]


def trained(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the trials that were fine-tuned at all: the others have no parts to compare."""
    return trials[trials["policy"] != "none"] if "policy" in trials else trials.iloc[:0]
