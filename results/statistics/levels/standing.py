"""Where a level that was tried stands beside those of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from results.errors import AnalysisError
from results.statistics.design.words import listed, metric_label, number
from results.statistics.levels.contrasts import paired_difference

EQUAL = 0.01
"""Achieved budgets that differ by no more are equal: what a budget is to be met within."""


class Beside(NamedTuple):
    """A level of the study, and by how many accuracy points the one that was tried lies above."""

    level: str
    what: str
    """What it is to the study, such as ``chance``; empty where its name says it."""
    points: float
    low: float
    high: float
    pairs: int
    seeds: int

    def __str__(self) -> str:
        """Return it in words: ``1.2 points above l1 (95 % interval 0.3 to 2.1)``."""
        where = "above" if self.points >= 0 else "below"
        ends = sorted((self.low, self.high) if self.points >= 0 else (-self.low, -self.high))
        interval = f"95 % interval {number(ends[0])} to {number(ends[1])}"
        if not np.isfinite(self.low):
            interval = "one seed, so no interval"
        elif self.low <= 0 <= self.high:
            interval += ": not told apart"
        said = "; ".join(filter(None, (self.what, interval)))
        return f"{number(abs(self.points))} points {where} {self.level} ({said})"


@dataclass(frozen=True)
class Standing:
    """A level that was tried beside levels of a study, at equal achieved budgets."""

    level: str
    metric: str
    beside: tuple[Beside, ...]
    unequal: int
    """How many pairs were left out because one of them missed its budget."""

    @property
    def sentence(self) -> str:
        """Where it stands, in one sentence."""
        one = self.beside[0]
        text = (
            f"On {metric_label(self.metric)}, over {one.pairs} pairs alike in all else at "
            f"{one.seeds} seeds, {self.level} lies {listed([str(of) for of in self.beside])}."
        )
        if self.unequal:
            text += f" Pairs whose budgets differ by over a point are left out: {self.unequal}."
        return text


def standing(
    trials: pd.DataFrame,
    metric: str,
    factor: str,
    level: str,
    known: Sequence[tuple[str, str]] = (),
) -> Standing:
    """Return where a level stands beside others of its factor.

    Args:
        trials: rows of ``trials``, of the study and of the level that was tried.
        metric: a column of accuracies.
        factor: the one that was tried a level of.
        level: that level.
        known: levels to set it beside, with what each is to the study. The best of the others by
            its mean is there too: chosen by the same trials, it looks a little better than it is.

    Raises:
        AnalysisError: No trial of the level is done, or none has its like in the study.
    """
    done = trials[(trials["status"] == "done") & trials[metric].notna()]
    if level not in (there := set(done[factor])):
        raise AnalysisError(f"no trial of {factor} {level} is done: nothing to compare")
    budget = f"{done['budget'].iloc[0]}_removed"
    compared = [_difference(done, metric, factor, (level, other), None)
                for other in sorted(there - {level})]  # fmt: skip
    means = {row.level: row for row in compared if row is not None}
    if not means:
        raise AnalysisError(f"no trial of the study is alike to one of {level} in all else")
    best = min(means, key=lambda other: means[other].points)
    named = {name: what for name, what in known if name in means}
    named[best] = ", ".join(filter(None, (named.get(best), "the study's best")))
    found = []
    for other, what in named.items():
        row = _difference(done, metric, factor, (level, other), (budget, EQUAL))
        if row is not None:
            found.append(row._replace(what=what))
    if not found:
        raise AnalysisError(f"no pair of trials with {level} is of equal budget")
    every = sum(means[one.level].pairs for one in found)
    return Standing(level, metric, tuple(found), every - sum(one.pairs for one in found))


def _difference(
    done: pd.DataFrame,
    metric: str,
    factor: str,
    pair: tuple[str, str],
    equal: tuple[str, float] | None,
) -> Beside | None:
    table = paired_difference(done, metric, factor, *pair, equal=equal)
    if table.empty:
        return None
    row = table.iloc[0]
    numbers = (float(row["mean"]), float(row["low"]), float(row["high"]))
    return Beside(pair[1], "", *numbers, int(row["pairs"]), int(row["seeds"]))
