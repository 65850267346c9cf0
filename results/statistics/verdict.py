"""The verdict: which matters more, the criterion or the fine-tuning, and how far that carries."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pandas as pd

from results.errors import AnalysisError
from results.statistics.comparison import (
    PAIR,
    UNDECIDED,
    compare_main_effects,
    flagged,
    seeds_to_decide,
    winner_without,
    without_each_level,
)
from results.statistics.decomposition import decompose_design, interaction_share, shares_of
from results.statistics.design import make_design, metrics_of, with_metric
from results.statistics.intervals import Estimate
from results.statistics.words import interval, metric_label, percent, share_words, term_name


@dataclass(frozen=True)
class Verdict:
    """Which of fine-tuning and criterion has the larger main effect on a metric.

    ``difference`` is the main-effect share of fine-tuning minus that of the criterion, between
    ``low`` and ``high``; ``interaction`` is the share of their interaction, never folded in.
    """

    metric: str
    winner: str
    """finetuning, criterion, or undecided."""
    difference: float
    low: float
    high: float
    shares: dict[str, Estimate]
    """Of fine-tuning's and the criterion's main effects."""
    interaction: float
    seeds: int
    cells: int
    notes: tuple[str, ...]
    depends_on: tuple[str, ...]
    """Each level without which the conclusion would be another, and what it would be."""
    without: pd.DataFrame
    """The comparison with each level left out; see `comparison.without_each_level`."""
    seeds_to_decide: int | None
    """Roughly how many seeds would decide an undecided question; None where it is decided."""
    flags: dict[str, int]
    """How many trials carry each flag: checks against false robustness that they failed."""
    flagged: int
    without_flagged: str | None
    """The winner without the flagged trials; None where none is, or too few are left to say."""

    @property
    def sentence(self) -> str:
        """The verdict in words, with its numbers."""
        finetuning, criterion = (share_words(self.shares[name]) for name in PAIR)
        gap = f"{percent(self.difference)} of the variance ({interval(self.low, self.high)})"
        label = metric_label(self.metric)
        head = {
            "finetuning": f"For {label}, fine-tuning matters more than the criterion",
            "criterion": f"For {label}, the criterion matters more than fine-tuning",
            "undecided": f"For {label}, these data do not decide whether fine-tuning or the "
            "criterion matters more",
        }[self.winner]
        text = (
            f"{head}: between {self.cells} cells at {self.seeds} seeds, fine-tuning explains "
            f"{finetuning} and the criterion {criterion}; the difference is {gap}, and their "
            f"interaction explains another {percent(self.interaction)}."
        )
        if self.winner == UNDECIDED:
            text += f" {self.power}"
        return text

    @property
    def power(self) -> str:
        """How many seeds would decide an undecided question, in words; empty where decided."""
        if self.winner != UNDECIDED:
            return ""
        if self.seeds_to_decide is None:
            return "The effects are so alike that not even a thousand seeds would decide it."
        more = self.seeds_to_decide - self.seeds
        return f"About {self.seeds_to_decide} seeds ({more} more) would decide it."

    @property
    def robustness(self) -> str:
        """Whether the conclusion holds when any one level is left out, in words."""
        if self.without.empty:
            return "No level can be left out to see whether the conclusion depends on it."
        if not self.depends_on:
            return (
                "The conclusion stays the same when any one level is left out "
                f"({len(self.without)} tried)."
            )
        return "The conclusion depends on single levels: " + "; ".join(self.depends_on) + "."

    @property
    def doubts(self) -> str:
        """What the flagged trials do to the conclusion, in words; empty where none is flagged."""
        if not self.flagged:
            return ""
        named = ", ".join(f"{name} {count}" for name, count in sorted(self.flags.items()))
        trials = "1 trial is" if self.flagged == 1 else f"{self.flagged} trials are"
        text = f"{trials} flagged ({named}): the robust accuracy may be overstated there."
        if self.without_flagged is None:
            return f"{text} Without them the data carry no verdict."
        if self.without_flagged == self.winner:
            return f"{text} Without them the conclusion is the same."
        return f"{text} Without them, {_conclusion(self.without_flagged)}."


def verdict(
    trials: pd.DataFrame,
    metric: str = "finetuned_pgd_20",
    block: str = "seed",
    confidence: float = 0.95,
) -> Verdict:
    """Return the verdict on one metric of the trials of one data set.

    Raises:
        AnalysisError: where the data cannot carry one: without two levels of both factors, or with
            fewer than three seeds.
    """
    trials = with_metric(trials, metric)
    design = make_design(trials, metric, None, block)
    comparison = compare_main_effects(design, confidence)
    without = without_each_level(design, confidence)
    shares = shares_of(decompose_design(design, block, confidence))
    doubtful = flagged(trials)
    return Verdict(
        metric=metric,
        winner=comparison.winner,
        difference=comparison.difference.value,
        low=comparison.difference.low,
        high=comparison.difference.high,
        shares={name: shares[name] for name in PAIR},
        interaction=interaction_share(shares, PAIR),
        seeds=len(design.seeds),
        cells=design.cells,
        notes=design.notes,
        depends_on=tuple(
            f"without {term_name(factor)} {level}, {_conclusion(other)}"
            for factor, level, other in without[["factor", "level", "winner"]].to_numpy()
            if other != comparison.winner
        ),
        without=without,
        seeds_to_decide=seeds_to_decide(comparison, len(design.seeds), confidence),
        flags=dict(Counter(", ".join(trials.loc[doubtful, "flags"]).split(", ")))
        if doubtful.any()
        else {},
        flagged=int(doubtful.sum()),
        without_flagged=winner_without(trials, doubtful, metric, block, confidence),
    )


def leading_metric(done: pd.DataFrame, metric: str | None = None) -> str:
    """Return the metric that the verdict is on: the strongest attack's, unless one is given."""
    after = [name for name in metrics_of(done) if name.startswith("finetuned_")]
    if metric is not None:
        if metric not in after:
            raise AnalysisError(f"no metric {metric!r}; there are: {', '.join(after)}")
        return metric
    return str(done[after].mean().idxmin())


def _conclusion(winner: str) -> str:
    return "it is undecided" if winner == UNDECIDED else f"{term_name(winner)} matters more"
