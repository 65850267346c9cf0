"""A finding: one record that says how it is computed, drawn, captioned and set as a table.

The page, the figures and every table's files follow from the records of `results.report.findings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd
from matplotlib.figure import Figure

from results.report.columns import Column
from results.statistics.design.design import varying_factors
from results.statistics.design.words import metric_label
from results.statistics.shares.comparison import PAIR
from results.statistics.verdict.sentences import Verdict
from results.statistics.verdict.subfactors import Parts
from results.tables.load import Loaded

MOST_LEVELS = 8
"""More levels of fine-tuning than this are shown by their parts, where these are crossed."""
UNCROSSED = (
    " Not every combination of the parts was run: a mean may owe to those that it goes with."
)


@dataclass(frozen=True)
class Evidence:
    """What the findings of one sweep are computed from."""

    loaded: Loaded
    metric: str
    """The one that leads: the strongest attack's after fine-tuning, unless another is asked for."""
    metrics: tuple[str, ...]
    """All of the fine-tuned networks, the leading one first."""
    verdicts: tuple[Verdict, ...]
    parts: tuple[Parts, ...]
    """What the parts of fine-tuning explain, by metric; empty where they are not crossed."""
    by_dataset: Mapping[str, tuple[Verdict, ...]] = field(default_factory=dict)
    """Verdicts as above on each data set alone; empty where there is one."""

    @property
    def trials(self) -> pd.DataFrame:
        """The rows that all of it is of."""
        return self.loaded.trials

    @property
    def factors(self) -> list[str]:
        """The factors with more than one level."""
        return varying_factors(self.trials)

    @property
    def crossed(self) -> tuple[str, ...]:
        """The parts of fine-tuning, the largest first; empty where they are not crossed."""
        return self.parts[0].parts if self.parts else ()

    @property
    def by_part(self) -> pd.DataFrame:
        """The rows of which the parts of fine-tuning are told."""
        return self.parts[0].trials if self.parts else self.trials.iloc[:0]

    @property
    def by_parts(self) -> bool:
        """Whether fine-tuning has too many levels to be shown otherwise than by its parts."""
        return bool(self.crossed) and self.trials["finetuning"].nunique() > MOST_LEVELS


@dataclass(frozen=True)
class Finding:
    """One table of the report; with ``draw`` it is a figure too, with ``columns`` on the page.

    In captions, ``{label}`` is the metric's name, ``{Label}`` the same at the begin of a sentence,
    ``{parts[0]}`` the largest part of fine-tuning, ``{uncrossed}`` says so where not every
    combination of the parts was run, and ``{intervals}`` that intervals are drawn, or why not.
    """

    name: str
    """Of its files; of the figure and the table on the page."""
    compute: Callable[[Evidence], pd.DataFrame]
    """Returns an empty frame, or raises AnalysisError, where the data cannot carry it."""
    draw: Callable[[pd.DataFrame, Evidence, float | None], Figure | None] | None = None
    """Takes the width in inches too, None for the page's own; returns None where the figure would
    show nothing that others do not."""
    caption: str = ""
    columns: Sequence[Column] = ()
    table_caption: str = ""
    folded: bool = False
    """Whether the table is closed on the page until a reader opens it."""
    leads: Callable[[pd.DataFrame, Evidence], pd.Series[bool]] | None = None
    """Which rows the page shows; the rest are closed until a reader opens them."""
    each_metric: bool = False
    """Whether there is one for every metric; its name then ends with the metric's."""
    caveat: str = ""
    """What the report says, with the reason, where the data cannot carry it; nothing if empty."""

    def instances(self, evidence: Evidence) -> Iterator[tuple[str, Evidence]]:
        """Go through the finding's tables: the name of each, and what it is computed from."""
        if not self.each_metric:
            yield self.name, evidence
            return
        for metric in evidence.metrics:
            yield f"{self.name}_{metric}", replace(evidence, metric=metric)


@dataclass(frozen=True)
class Section:
    """A section of the page: its findings in their order."""

    name: str
    heading: str
    link: str
    """What the page's list of contents calls it."""
    findings: tuple[Finding, ...]
    empty: str = "The data carry no more on this."
    """What it says where the data carry none of its findings."""


def worded(caption: str, evidence: Evidence) -> str:
    """Return a caption about this evidence."""
    label = metric_label(evidence.metric)
    several = evidence.trials["seed"].nunique() > 1
    return caption.format(
        label=label,
        Label=label[:1].upper() + label[1:],
        parts=evidence.crossed,
        uncrossed="" if all(each.crossed for each in evidence.parts) else UNCROSSED,
        intervals="with 95 % intervals over seeds" if several else "at one seed, so no intervals",
    )


def verdict_row(verdict: Verdict) -> dict[str, object]:
    """Return a verdict as a row of a table."""
    return {
        "metric": metric_label(verdict.metric),
        "winner": verdict.winner,
        "difference": verdict.difference,
        "low": verdict.low,
        "high": verdict.high,
        **{name: verdict.shares[name].value for name in PAIR},
        "interaction": verdict.interaction,
        "cells": verdict.cells,
        "seeds": verdict.seeds,
    }


def by_metric(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    """Return rows as a table: metric by metric, in the order in which each comes first."""
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    ordered = sorted(rows, key=lambda row: metrics.index(row["metric"]))
    return pd.DataFrame(ordered)


def stacked(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return tables one below the other; an empty one where there are none."""
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
