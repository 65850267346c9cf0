"""The parts of fine-tuning as factors of their own: objective, policy, epochs, rate, and so on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from results.errors import AnalysisError
from results.statistics.design.design import make_design, trained, varying_factors
from results.statistics.design.intervals import Estimate
from results.statistics.design.words import interval, listed, metric_label, percent, share_words
from results.statistics.shares.comparison import compare_main_effects
from results.statistics.shares.decomposition import decompose_design, shares_of
from results.tables.schema import SUBFACTORS


def subfactors_of(trials: pd.DataFrame) -> list[str]:
    """Return the columns that tell the levels of fine-tuning apart, the chief ones first.

    A column that says nothing beyond those before it is left out, such as the rate that a policy
    takes from the dense network; so is one that overrides make vary within a level.
    """
    levels = trained(trials)
    known = [name for name in SUBFACTORS if name in levels]
    if levels.empty or not known:
        return []
    within = levels.groupby("finetuning")[known].nunique(dropna=False).max()
    table = levels.drop_duplicates("finetuning")[known].astype(object)
    table = table.where(table.notna(), None)
    chosen: list[str] = []
    apart = 1
    for name in known:
        finer = len(table.drop_duplicates([*chosen, name]))
        if within[name] == 1 and finer > apart:
            chosen.append(name)
            apart = finer
    return chosen


@dataclass(frozen=True)
class Parts:
    """How much each part of fine-tuning explains of a metric, among fine-tuned networks alone.

    ``difference`` is the share of the first of ``parts`` less that of the second, between ``low``
    and ``high``.
    """

    metric: str
    parts: tuple[str, ...]
    """The sub-factors, the largest share first."""
    shares: dict[str, Estimate]
    """Of each part, and of the criterion where it varies."""
    together: float
    """The share of the parts' interactions with one another."""
    difference: float
    low: float
    high: float
    decided: bool
    """Whether the largest part is larger than the next by more than its uncertainty."""
    seeds: int
    cells: int
    notes: tuple[str, ...]
    table: pd.DataFrame
    """The whole decomposition, as `results.decompose` returns it."""
    trials: pd.DataFrame
    """The rows that it is of: without those of levels that are left out, as notes say."""
    crossed: bool
    """Whether every combination of the parts' levels was run."""

    @property
    def sentence(self) -> str:
        """What matters most, in words, with its numbers."""
        first, second = self.parts[:2]
        label = metric_label(self.metric)
        head = (
            f"Of fine-tuning's parts, the {_name(first)} matters most for {label}"
            if self.decided
            else f"Which of fine-tuning's parts matters most for {label} is not decided"
        )
        explained = [f"the {_name(name)} {share_words(s)}" for name, s in self.shares.items()]
        return (
            f"{head}: between {self.cells} fine-tuned cells at {self.seeds} seeds, "
            f"{listed(explained)}; {_name(first)} less {_name(second)} is "
            f"{percent(self.difference)} of the variance ({interval(self.low, self.high)}), and "
            f"the parts' interactions explain another {percent(self.together)}."
        )


def parts(
    trials: pd.DataFrame, metric: str, block: str = "seed", confidence: float = 0.95
) -> Parts:
    """Return how much each part of fine-tuning explains; trials without fine-tuning are left out.

    Raises:
        AnalysisError: with fewer than two parts that vary, or fewer than three seeds.
    """
    chosen = subfactors_of(trials)
    if len(chosen) < 2:
        raise AnalysisError("the levels of fine-tuning differ in fewer than two of its parts")
    rows = trained(trials)
    others = [name for name in varying_factors(rows) if name != "finetuning"]
    text = rows.assign(**{name: rows[name].astype(object).fillna("none") for name in chosen})
    design = make_design(text, metric, [*others, *chosen], block)
    left = [name for name in chosen if len(design.levels[design.factors.index(name)]) > 1]
    if len(left) < 2:
        raise AnalysisError(
            "fine-tuning's parts are not crossed: no two of them vary in a complete design"
        )
    table = decompose_design(design, block, confidence)
    shares = shares_of(table)
    order = sorted(left, key=lambda name: -shares[name].value)
    comparison = compare_main_effects(design, confidence, (order[0], order[1]))
    difference = comparison.difference
    shown = [*order, *(["criterion"] if "criterion" in shares else [])]
    mixed = [term for term in shares if ":" in term and set(term.split(":")) <= set(left)]
    return Parts(
        metric=metric,
        parts=tuple(order),
        shares={name: shares[name] for name in shown},
        together=sum(shares[term].value for term in mixed),
        difference=difference.value,
        low=difference.low,
        high=difference.high,
        decided=comparison.winner == order[0],
        seeds=len(design.seeds),
        cells=design.cells,
        notes=tuple(f"Of fine-tuning's parts: {note}" for note in design.notes),
        table=table,
        trials=rows[
            np.logical_and.reduce(
                [
                    text[name].isin(of)
                    for name, of in zip(design.factors, design.levels, strict=True)
                ]
            )
        ],
        crossed=design.complete,
    )


def _name(part: str) -> str:
    return {"lr": "learning rate"}.get(part, part.replace("_", " "))
