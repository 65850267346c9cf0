"""A verdict, and what it says in words."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from results.statistics.design.intervals import Estimate
from results.statistics.design.words import (
    interval,
    listed,
    metric_label,
    percent,
    possible,
    share_words,
    term_name,
)
from results.statistics.shares.comparison import PAIR, UNDECIDED
from results.statistics.shares.power import ENOUGH, Power

LARGE = 0.05
"""An interaction from so large a share is named."""


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
    confidence: float
    shares: dict[str, Estimate]
    """Of fine-tuning's and the criterion's main effects."""
    interaction: float
    interactions: dict[str, Estimate]
    """Of every interaction of either factor, with any others."""
    seeds: int
    cells: int
    images: int | None
    """How many test images there are; None where it is not known."""
    conditions: str
    """Data set, threat, images, levels and budgets, in words."""
    notes: tuple[str, ...]
    refusals: tuple[str, ...]
    """Why the data carry no verdict whatever the interval says; empty where they do."""
    lacking: str
    """How many trials are missing, why, and which levels lack most; empty where none is."""
    unstable: tuple[str, ...]
    """Levels that fall or rise far at single seeds."""
    alike: dict[str, list[tuple[str, ...]]]
    """By factor, groups of levels that are hardly two; each is left out together."""
    differs: dict[str, str]
    """Settings in which criteria differ where all else is equal, and how."""
    without: pd.DataFrame
    """The comparison with each level left out; see `comparison.without_each_level`."""
    within: pd.DataFrame
    """The comparison within each subset; see `comparison.within_each_level`."""
    estimands: pd.DataFrame
    """The comparison by other measures; see `results.estimands`."""
    power: Power | None
    """How many seeds would decide an undecided question, and how surely; None where decided."""
    flags: dict[str, int]
    """How many trials carry each flag: checks against false robustness that they failed."""
    flagged: int
    without_flagged: str | None
    """The winner without the flagged trials; None where none is, or too few are left to say."""

    @property
    def depends_on(self) -> tuple[str, ...]:
        """Each level without which the conclusion would be another, and what it would be."""
        return tuple(
            f"without {term_name(factor)} {level}, {_conclusion(other)}"
            for factor, level, other in self.without[["factor", "level", "winner"]].to_numpy()
            if other != self.winner
        )

    @property
    def hangs_on(self) -> str:
        """The same in words, levels without which it would be alike together; empty for none."""
        others: dict[str, list[str]] = {}
        for factor, level, other in self.without[["factor", "level", "winner"]].to_numpy():
            if other != self.winner:
                others.setdefault(other, []).append(f"{term_name(factor)} {level}")
        said = [f"without {listed(of, 'or')}, {_conclusion(one)}" for one, of in others.items()]
        return "; ".join(said)

    @property
    def seeds_to_decide(self) -> int | None:
        """How many seeds would decide in half of the cases; None where decided, or too many."""
        if self.power is None or self.power.chance < ENOUGH:
            return None
        return self.power.seeds

    @property
    def sentence(self) -> str:
        """The verdict in words, with its numbers and its conditions."""
        return " ".join(one for one in (self.finding, self.conditions) if one)

    @property
    def finding(self) -> str:
        """The verdict in words, with its numbers, what is missing, and what would decide it."""
        label = metric_label(self.metric)
        head = {
            "finetuning": f"For {label}, fine-tuning matters more than the criterion",
            "criterion": f"For {label}, the criterion matters more than fine-tuning",
            UNDECIDED: f"For {label}, these data do not decide whether fine-tuning or the "
            "criterion matters more",
        }[self.winner]
        if self.refusals:
            head = f"For {label}, these data carry no verdict, since {listed(self.refusals)}"
        if self.noisy and not self.refusals:
            text = (
                f"{head}: {self.cells} cells at {self.seeds} seeds hardly differ by more than "
                "noise, so that their variance cannot be shared out."
            )
            return " ".join([text, *(one for one in (self.missing, self.chance) if one)])
        finetuning, criterion = (share_words(self.shares[name], self.confidence) for name in PAIR)
        gap, low, high = (possible(end, -1) for end in (self.difference, self.low, self.high))
        text = (
            f"{head}: between {self.cells} cells at {self.seeds} seeds, fine-tuning explains "
            f"{finetuning} and the criterion {criterion}; the difference is {percent(gap)} of the "
            f"variance ({interval(low, high, self.confidence)}), and {self._mixed}{self._although}."
        )
        more = (self.missing, self.chance)
        return " ".join([text, *(one for one in more if one)])

    @property
    def noisy(self) -> bool:
        """Whether the cells vary so little beyond noise that shares come out as none can be."""
        values = (self.difference, *(self.shares[name].value for name in PAIR))
        return self.winner == UNDECIDED and any(abs(value) > 1 for value in values)

    @property
    def _mixed(self) -> str:
        """What interactions explain: the two factors' own, and any others that are large."""
        others = {
            term: share.value
            for term, share in self.interactions.items()
            if set(term.split(":")) != set(PAIR) and share.value >= LARGE and not share.low <= 0
        }
        text = f"their interaction explains another {percent(possible(self.interaction))}"
        largest = sorted(others, key=lambda term: -others[term])[:4]
        named = [f"{term_name(term)} {percent(possible(others[term]))}" for term in largest]
        return f"{text}, {listed(named)}" if named else text

    @property
    def missing(self) -> str:
        """Which trials are missing, in words; empty where none is."""
        return f"{self.lacking}." if self.lacking else ""

    @property
    def chance(self) -> str:
        """How surely more seeds would decide an undecided question, in words."""
        if self.power is None or self.refusals:
            return ""
        seeds, chance = self.power
        if chance < ENOUGH:
            return f"Not even {seeds} seeds would decide it in half of the cases."
        tenths = round(10 * chance)
        often = f"about {10 * tenths} % of" if tenths < 10 else "nearly all"
        return (
            f"With {seeds} seeds it would be decided in {often} cases, if the effects are as "
            "measured."
        )

    @property
    def robustness(self) -> str:
        """Whether the conclusion holds without single levels and within subsets, in words."""
        # Where there is no conclusion, nothing can be said of how well it holds.
        held = [] if self.refusals or self.noisy else [self._left_out, self._within, self._measures]
        said = [*held, *self._besides]
        return " ".join(one for one in said if one)

    @property
    def _left_out(self) -> str:
        if self.without.empty:
            return "No level can be left out to see whether the conclusion depends on it."
        moved = (self.without["difference"] - self.difference).abs()
        text = ""
        if moved.notna().any():
            row = self.without.iloc[int(moved.fillna(0).to_numpy().argmax())]
            low, high = (possible(row[end], -1) for end in ("low", "high"))
            text = (
                f" Leaving out {term_name(row['factor'])} {row['level']} moves the difference "
                f"most: from {percent(possible(self.difference, -1))} to "
                f"{percent(possible(row['difference'], -1))} "
                f"({interval(low, high, self.confidence)})."
            )
        if self.hangs_on:
            return f"The conclusion depends on single levels: {self.hangs_on}.{text}"
        return (
            "The conclusion stays the same when any one level is left out "
            f"({len(self.without)} tried).{text}"
        )

    @property
    def _within(self) -> str:
        others = [
            f"{term_name(factor)} {level}, {_conclusion(winner)} ({percent(possible(gap, -1))})"
            for factor, level, winner, gap in self.within[
                ["factor", "level", "winner", "difference"]
            ].to_numpy()
            if winner not in (self.winner, UNDECIDED)
        ]
        return f"Within single levels it is otherwise: {'; '.join(others)}." if others else ""

    @property
    def _measures(self) -> str:
        """Say by which other measures the conclusion is another."""
        others: dict[str, list[str]] = {}
        for name, winner in self.estimands[["estimand", "winner"]].to_numpy()[1:]:
            if winner not in (self.winner, UNDECIDED) and not self.refusals:
                others.setdefault(winner, []).append(name)
        said = [f"{_conclusion(winner)} by {listed(names)}" for winner, names in others.items()]
        return f"By other measures it is otherwise: {'; '.join(said)}." if said else ""

    @property
    def _although(self) -> str:
        """Say of which factor every level has the other conclusion."""
        winners = self.within.groupby("factor", sort=False)["winner"].agg(["nunique", "first"])
        against = [
            f"within each {term_name(str(factor))}, {_conclusion(winner)}"
            for factor, many, winner in winners.itertuples()
            if many == 1 and winner not in (self.winner, UNDECIDED)
        ]
        return f", although {listed(against)}" if against else ""

    @property
    def _besides(self) -> list[str]:
        """What else a reader must know of the levels."""
        refused = " ".join(self.refusals)
        said = [f"{one[:1].upper()}{one[1:]}." for one in self.unstable if one not in refused]
        for factor, groups in self.alike.items():
            first, *others = map(listed, groups)
            also = "".join(f"; so are {group}" for group in others)
            name = term_name(factor)
            said.append(f"As levels of {name}, {first} are hardly more than one{also}.")
        if self.differs and not self.refusals:
            named = listed([f"{name} ({how})" for name, how in self.differs.items()])
            said.append(f"Criteria differ in {named} as well.")
        return said

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


def _conclusion(winner: str) -> str:
    return "it is undecided" if winner == UNDECIDED else f"{term_name(winner)} matters more"
