"""From rows of ``trials`` to a complete factorial array, and what had to be left out for it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.schema import FACTORS, is_metric

Array = NDArray[np.float64]


class AnalysisError(ValueError):
    """Data that cannot carry the question; the message says what is missing."""


@dataclass(frozen=True)
class Design:
    """A metric over all cells and seeds: ``values`` [levels of factor 1, ..., seeds]."""

    factors: tuple[str, ...]
    levels: tuple[tuple[object, ...], ...]
    seeds: tuple[object, ...]
    values: Array
    notes: tuple[str, ...]
    """What was left out or filled in, and why; empty for a complete design."""

    @property
    def cells(self) -> int:
        """The number of cells."""
        return int(np.prod(self.values.shape[:-1]))


def varying_factors(trials: pd.DataFrame) -> list[str]:
    """Return the factors with more than one level."""
    return [f for f in FACTORS if f in trials and trials[f].nunique() > 1]


def metrics_of(trials: pd.DataFrame) -> list[str]:
    """Return the metric columns that hold a number anywhere."""
    return [c for c in trials.columns if is_metric(c) and trials[c].notna().any()]


def make_design(
    trials: pd.DataFrame, metric: str, factors: Sequence[str] | None = None, block: str = "seed"
) -> Design:
    """Arrange a metric as a complete factorial array.

    A trial missing at some seeds is filled in from its cell's other seeds and the seed's own mean
    (Yates, 1933); where a cell is missing at every seed, the level or seed with the largest share
    of missing cells is left out until none is missing.

    Raises:
        AnalysisError: where nothing is left, or the factors do not tell the rows apart.
    """
    if metric not in trials:
        raise AnalysisError(f"no metric {metric!r}; there are: {', '.join(metrics_of(trials))}")
    if "dataset" in trials and trials["dataset"].nunique() > 1:
        names = ", ".join(sorted(trials["dataset"].unique()))
        raise AnalysisError(f"several data sets ({names}): analyse one at a time")
    chosen = tuple(varying_factors(trials) if factors is None else factors)
    if unknown := [name for name in (*chosen, block) if name not in trials]:
        raise AnalysisError(f"no column {', '.join(unknown)} in trials")
    done = trials[trials["status"] == "done"] if "status" in trials else trials
    done = done[done[metric].notna()]
    if done.empty:
        raise AnalysisError(f"no finished trial has {metric}")
    _one_row_a_cell(done, [*chosen, block])
    # Levels are those that were asked for, so that one whose trials all failed counts as missing.
    levels = [tuple(sorted(trials[name].dropna().unique())) for name in (*chosen, block)]
    values = np.full([len(of_factor) for of_factor in levels], np.nan)
    index = [done[name].map({x: i for i, x in enumerate(of)}).to_numpy(dtype=int)
             for name, of in zip((*chosen, block), levels, strict=True)]  # fmt: skip
    values[tuple(index)] = done[metric].to_numpy(dtype=float)
    values, kept, notes = _complete([*chosen, block], levels, values)
    return Design(chosen, tuple(kept[:-1]), kept[-1], values, tuple(notes))


def _one_row_a_cell(done: pd.DataFrame, columns: list[str]) -> None:
    doubled = done.duplicated(columns, keep=False)
    if doubled.any():
        raise AnalysisError(
            f"{int(doubled.sum())} trials agree in {', '.join(columns)}: they differ in something "
            "that is not among the factors; name it as one, or filter the rows"
        )


def _complete(
    names: list[str], levels: list[tuple[object, ...]], values: Array
) -> tuple[Array, list[tuple[object, ...]], list[str]]:
    notes: list[str] = []
    levels = list(levels)
    while True:
        absent = np.isnan(values).all(axis=-1)
        empty_seeds = np.isnan(values).all(axis=tuple(range(values.ndim - 1)))
        if not absent.any() and not empty_seeds.any():
            break
        worst = max(
            (
                (float(np.isnan(np.take(values, i, axis)).mean()), axis, i)
                for axis, of in enumerate(levels)
                for i in range(len(of))
            ),
            key=lambda found: found[0],
        )
        _, axis, i = worst
        notes.append(f"{names[axis]} {levels[axis][i]} is left out: cells of it are missing")
        values = np.delete(values, i, axis)
        levels[axis] = tuple(level for j, level in enumerate(levels[axis]) if j != i)
        if values.size == 0:
            raise AnalysisError("too few trials are done to make up a complete design")
    missing = np.isnan(values)
    if missing.any():
        share = missing.mean()
        notes.append(
            f"{int(missing.sum())} of {values.size} trials ({share:.1%}) are missing at some seeds "
            "and filled in from the other seeds of their cell"
        )
        values = _filled(values)
    return values, levels, notes


def _filled(values: Array) -> Array:
    cell = np.nanmean(values, axis=-1, keepdims=True)
    # A seed's shift, over the cells that it has, against those cells' own means.
    shift = np.nanmean(values - cell, axis=tuple(range(values.ndim - 1)))
    return np.where(np.isnan(values), cell + shift, values)


def terms(factors: Sequence[str]) -> list[tuple[int, ...]]:
    """Return all effects as tuples of axes, main effects first."""
    axes = range(len(factors))
    return [t for order in range(1, len(factors) + 1) for t in itertools.combinations(axes, order)]
