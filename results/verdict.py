"""The verdict: which matters more, the criterion or the fine-tuning, and how far that carries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from results.decomposition import decompose_design, term_grams, variance_shares
from results.design import AnalysisError, Array, Design, make_design
from results.intervals import Index, jackknife_interval, t_quantile
from results.schema import metric_label
from results.words import interval, percent

PAIR = ("finetuning", "criterion")


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
    shares: dict[str, tuple[float, float, float]]
    interaction: float
    seeds: int
    cells: int
    notes: tuple[str, ...]
    depends_on: tuple[str, ...]
    """Each level without which the conclusion would be another, and what it would be."""
    levels_left_out: int
    """How many levels could be left out in turn to find that."""
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
        share, criterion = (self._share(name) for name in PAIR)
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
            f"{share} and the criterion {criterion}; the difference is {gap}, and their "
            f"interaction explains another {percent(self.interaction)}."
        )
        if self.seeds_to_decide is not None:
            text += f" About {self.seeds_to_decide} seeds would decide it."
        return text

    @property
    def robustness(self) -> str:
        """Whether the conclusion holds when any one level is left out, in words."""
        if self.levels_left_out == 0:
            return "No level can be left out to see whether the conclusion depends on it."
        if not self.depends_on:
            return (
                "The conclusion stays the same when any one level is left out "
                f"({self.levels_left_out} tried)."
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

    def _share(self, factor: str) -> str:
        share, low, high = self.shares[factor]
        return f"{percent(share)} ({interval(low, high)})"


def verdict(
    trials: pd.DataFrame,
    metric: str = "finetuned_pgd_20",
    block: str = "seed",
    confidence: float = 0.95,
) -> Verdict:
    """Return the verdict on one metric of the trials of one data set.

    Raises `AnalysisError` where the data cannot carry one: without two levels of both factors, or
    with fewer than three seeds.
    """
    design = make_design(trials, metric, None, block)
    if absent := [name for name in PAIR if name not in design.factors]:
        raise AnalysisError(f"{' and '.join(absent)} has one level alone: nothing to compare")
    found = compare_main_effects(design, confidence)
    without = dict(_without_each_level(trials, design, metric, block, confidence))
    winner, difference, low, high = found
    table = decompose_design(design, block, confidence)
    values = table.set_index("term")[["share", "low", "high"]].to_dict("index")
    flagged = _flagged(trials)
    mixed = [term for term in table["term"] if set(term.split(":")) == set(PAIR)]
    return Verdict(
        metric=metric,
        winner=winner,
        difference=difference,
        low=low,
        high=high,
        shares={name: (v["share"], v["low"], v["high"]) for name in PAIR for v in [values[name]]},
        interaction=sum(values[term]["share"] for term in mixed),
        seeds=len(design.seeds),
        cells=design.cells,
        notes=design.notes,
        depends_on=tuple(
            f"without {level}, {_conclusion(other)}"
            for level, other in without.items()
            if other != winner
        ),
        levels_left_out=len(without),
        seeds_to_decide=_seeds_to_decide(found, len(design.seeds), confidence),
        flags=dict(Counter(", ".join(trials.loc[flagged, "flags"]).split(", ")))
        if flagged.any()
        else {},
        flagged=int(flagged.sum()),
        without_flagged=_without(trials, flagged, metric, block, confidence),
    )


def _flagged(trials: pd.DataFrame) -> pd.Series[bool]:
    if "flags" not in trials:
        return pd.Series(data=False, index=trials.index)
    return trials["flags"].notna()


def _without(
    trials: pd.DataFrame, flagged: pd.Series[bool], metric: str, block: str, confidence: float
) -> str | None:
    """Return the winner without flagged trials: each counts as one that failed."""
    if not flagged.any():
        return None
    try:
        sound = trials.assign(**{metric: trials[metric].mask(flagged)})
        design = make_design(sound, metric, None, block)
        return compare_main_effects(design, confidence)[0]
    except ValueError:  # too few are left for a design (AnalysisError), or one level of a factor
        return None


def compare_main_effects(
    design: Design, confidence: float, pair: tuple[str, str] = PAIR
) -> tuple[str, float, float, float]:
    """Return which of two main effects is larger, and the difference of their shares.

    The name of the larger, or undecided; the first's share less the second's, and its interval.

    Raises `AnalysisError` with fewer than three seeds.
    """
    if len(design.seeds) <= 2:
        raise AnalysisError(
            f"with {len(design.seeds)} of at least 3 seeds no interval can be given, so no verdict"
        )
    grams = term_grams(design)
    stack = np.stack(list(grams.values()))
    names = list(grams)
    first, second = (names.index(name) for name in pair)

    def difference(keep: Index) -> Array:
        shares = variance_shares(stack[:, keep][:, :, keep])
        return np.asarray(shares[first] - shares[second])

    whole = difference(np.arange(len(design.seeds)))
    low, high = jackknife_interval(difference, len(design.seeds), whole, confidence)
    winner = pair[0] if low > 0 else pair[1] if high < 0 else "undecided"
    return winner, float(whole), float(low), float(high)


def _without_each_level(
    trials: pd.DataFrame, design: Design, metric: str, block: str, confidence: float
) -> Iterator[tuple[str, str]]:
    """Leave out each level of each factor in turn; go through the levels and who then wins."""
    for factor, levels in zip(design.factors, design.levels, strict=True):
        if factor in PAIR and len(levels) < 3:
            continue  # one level alone is no factor
        for level in levels:
            rest = make_design(trials[trials[factor] != level], metric, None, block)
            yield f"{_name(factor)} {level}", compare_main_effects(rest, confidence)[0]


def _conclusion(winner: str) -> str:
    return "it is undecided" if winner == "undecided" else f"{_name(winner)} matters more"


def _seeds_to_decide(
    found: tuple[str, float, float, float], seeds: int, confidence: float
) -> int | None:
    """Find the number of seeds at which the present difference would clear its interval."""
    winner, difference, low, high = found
    if winner != "undecided" or difference == 0:
        return None
    error = (high - low) / 2 / t_quantile(confidence, seeds - 1) * np.sqrt(seeds)
    for more in range(seeds + 1, 1000):
        reach = t_quantile(confidence, more - 1) * error / np.sqrt(more)
        if reach < abs(difference):
            return more
    return 1000


def _name(factor: str) -> str:
    return {"finetuning": "fine-tuning"}.get(factor, factor)
