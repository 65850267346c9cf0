"""What a claim asks of trials: a number with an interval, and where it must lie."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from results.errors import AnalysisError
from results.statistics.design.design import make_design
from results.statistics.design.words import DASH, MINUS, metric_label, number, term_name
from results.statistics.levels.pairwise import compare_levels
from results.statistics.levels.ranks import before_and_after
from results.statistics.shares.comparison import PAIR, compare_main_effects
from results.statistics.shares.estimands import estimands

CONTRAST, SHARE, AGREEMENT = "contrast", "share", "agreement"
GREATER, NO_WORSE, EQUIVALENT = "greater", "no-worse", "equivalent"
MAIN_EFFECTS = "main effects"
ESTIMANDS = (
    MAIN_EFFECTS, "Shapley shares", "main effects at equal compute", "levels as a sample",
    "left to chance", "best of 2 tries", "worst choice",
)  # fmt: skip
"""What a claim of shares may be about; see `results.estimands`."""


class Part(NamedTuple):
    """One of the numbers that a claim is about, with the ends of its interval."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Question:
    """A claim as statistics see it."""

    kind: str
    """contrast: levels of a factor; share: of two factors; agreement: ranks before and after."""
    factors: tuple[str, ...]
    """The factor; of shares both, the one that is claimed to be larger first."""
    metric: str
    margin: float = 0.0
    """In the unit of the question."""
    expects: str = GREATER
    levels: tuple[object, ...] = ()
    """Of a contrast: the first against each other; all against all where they are equivalent."""
    where: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    estimand: str = MAIN_EFFECTS

    @property
    def unit(self) -> str:
        """What its numbers are in."""
        if self.kind == AGREEMENT:
            return "Kendall's tau"
        shares = self.kind == SHARE and self.estimand in ESTIMANDS[:3]
        return "% of the variance" if shares else "points"

    @property
    def names(self) -> list[str]:
        """What its parts are called, as far as they are known without data."""
        if self.kind == CONTRAST:
            return [f"{first} {MINUS} {second}" for first, second in self.pairs]
        return [f" {MINUS} ".join(map(term_name, self.factors))] if self.kind == SHARE else []

    @property
    def pairs(self) -> list[tuple[object, object]]:
        """The levels that are compared."""
        pairs = list(itertools.combinations(self.levels, 2))
        return pairs if self.expects == EQUIVALENT else pairs[: len(self.levels) - 1]

    def __str__(self) -> str:
        """Return what must be the case, in words."""
        about = {
            CONTRAST: f"{metric_label(self.metric)}, {'; '.join(self.names)}",
            SHARE: f"{self.estimand} on {metric_label(self.metric)}, {''.join(self.names)}",
            AGREEMENT: f"ranks of {self.factors[0]} before and after fine-tuning by "
            f"{metric_label(self.metric)}",
        }[self.kind]
        margin = number(self.margin, 2 if self.kind == AGREEMENT else 1)
        must = {
            GREATER: f"more than {margin}",
            NO_WORSE: f"more than {MINUS}{margin}",
            EQUIVALENT: f"between {MINUS}{margin} and {margin}",
        }[self.expects]
        within = [f"{name} {' or '.join(map(str, of))}" for name, of in self.where.items()]
        return f"{about}: {must} {self.unit}" + (f", at {', '.join(within)}" if within else "")


def asked(trials: pd.DataFrame, question: Question) -> pd.DataFrame:
    """Return the trials that a question is about.

    Raises:
        AnalysisError: A level of it has none.
    """
    only = dict(question.where)
    if question.kind == CONTRAST:
        only[question.factors[0]] = question.levels
    for name, levels in only.items():
        if absent := [str(level) for level in levels if not (trials[name] == level).any()]:
            raise AnalysisError(f"no trial has {name} {' or '.join(absent)}")
        trials = trials[trials[name].isin(levels)]
    return trials


def measured(rows: pd.DataFrame, question: Question, confidence: float) -> list[Part]:
    """Return the numbers that a question is about, with intervals over seeds.

    Args:
        rows: the trials that it is about.
        question: what is asked.
        confidence: of each interval by itself.

    Raises:
        AnalysisError: The data carry none.
    """
    if question.kind == CONTRAST:
        return [_difference(rows, question, pair, confidence) for pair in question.pairs]
    if question.kind == SHARE:
        return [_larger_share(rows, question, confidence)]
    (factor,) = question.factors
    table = before_and_after(rows, question.metric, factor, confidence=confidence)
    if table.empty:
        raise AnalysisError("no trial was fine-tuned: there is no after")
    found = [Part(str(name), *numbers) for name, *numbers in table.itertuples(index=False)]
    return [_finite(part) for part in found]


def _difference(
    rows: pd.DataFrame, question: Question, pair: tuple[object, object], confidence: float
) -> Part:
    (factor,), (first, second) = question.factors, pair
    both = rows[rows[factor].isin(pair)]
    table = compare_levels(both, question.metric, factor, confidence=confidence)
    if table.empty:
        raise AnalysisError(f"{factor} {first} and {second} have no cell in common")
    row = table.iloc[0]
    mean, low, high = (float(row[name]) for name in ("mean", "low", "high"))
    if row["first"] != str(first):
        mean, low, high = -mean, -high, -low
    return _finite(Part(f"{first} {MINUS} {second}", mean, low, high))


def _larger_share(rows: pd.DataFrame, question: Question, confidence: float) -> Part:
    name = question.names[0]
    if question.estimand == MAIN_EFFECTS:
        design = make_design(rows, question.metric)
        gap = compare_main_effects(design, confidence, (question.factors[0], question.factors[1]))
        return _finite(Part(name, *(100 * end for end in gap.difference)))
    table = estimands(rows, question.metric, confidence=confidence).set_index("estimand")
    if question.estimand not in table.index:
        raise AnalysisError(f"these data have no {question.estimand}")
    row = table.loc[question.estimand].to_dict()
    scale = 100.0 if question.unit.startswith("%") else 1.0
    gap_, low, high = (scale * float(row[end]) for end in ("difference", "low", "high"))
    if question.factors != PAIR:
        gap_, low, high = -gap_, -high, -low
    return _finite(Part(name, gap_, low, high))


def _finite(part: Part) -> Part:
    if not part.low <= part.value <= part.high:
        raise AnalysisError(f"no interval can be given of {part.name.replace(MINUS, DASH)}")
    return part
