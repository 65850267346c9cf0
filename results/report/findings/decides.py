"""What decides? Shares of the variance between cells."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from matplotlib.figure import Figure

from results.report import columns
from results.report.figures.heat import heat_figure
from results.report.figures.shares import share_figure
from results.report.finding import Evidence, Finding, Section
from results.statistics.design.design import stage_metrics
from results.statistics.design.words import metric_label, number, possible, term_name
from results.statistics.levels.contrasts import level_means
from results.statistics.shares.comparison import PAIR
from results.statistics.shares.decomposition import decompose

MOST_INTERACTIONS = 5
"""Of the largest, beside the main effects."""


def _shares(evidence: Evidence) -> pd.DataFrame:
    """Return main effects and the largest interactions, before and after fine-tuning."""
    both = pd.concat(
        [
            decompose(evidence.trials, metric).assign(stage=stage)
            for stage, metric in stage_metrics(evidence.metric).items()
        ],
        ignore_index=True,
    )
    main = both[(both["order"] == 1) & (both["stage"] == "finetuned")]
    mixed = both[both["order"] > 1].groupby("term")["share"].max().nlargest(MOST_INTERACTIONS)
    order = [*main.sort_values("share", ascending=False)["term"], *mixed.index]
    both = both[both["term"].isin(order)]
    return both.sort_values(
        ["term", "stage"], key=lambda c: c.map(order.index) if c.name == "term" else c
    ).reset_index(drop=True)


def _part_shares(evidence: Evidence) -> pd.DataFrame:
    """Return the parts' main effects, the largest first, and the largest interactions."""
    if not evidence.parts:
        return pd.DataFrame()
    table = evidence.parts[0].table
    main = table[table["order"] == 1].sort_values("share", ascending=False)
    mixed = table[table["order"] > 1].nlargest(MOST_INTERACTIONS, "share")
    return pd.concat([main, mixed], ignore_index=True).assign(stage="finetuned")


def _crossed_means(evidence: Evidence) -> pd.DataFrame:
    if not evidence.crossed:
        return pd.DataFrame()
    return level_means(evidence.by_part, evidence.metric, evidence.crossed[:2])


def _draw_crossed(means: pd.DataFrame, evidence: Evidence, width: float | None) -> Figure:
    first, second = evidence.crossed[:2]
    return heat_figure(means, first, second, metric_label(evidence.metric), width=width)


def _draw_means(means: pd.DataFrame, evidence: Evidence, width: float | None) -> Figure | None:
    if evidence.by_parts:
        return None
    label = metric_label(evidence.metric)
    return heat_figure(means, "criterion", "finetuning", label, width=width)


def _measure(name: str) -> Callable[[pd.Series], str]:
    """Return how a measure of the row's unit reads: a share, or accuracy points."""

    def cell(row: pd.Series) -> str:
        if row["unit"] == "accuracy points":
            return f"{number(100 * possible(row[name] / 100, -1))} points"
        return columns.gap_of_percent(row[name])

    return cell


SECTION = Section(
    name="decides",
    heading="What decides?",
    link="What decides?",
    findings=(
        Finding(
            name="variance_shares",
            compute=_shares,
            draw=lambda shares, _, width: share_figure(shares, width=width),
            caption=(
                "What decides {label}? Share of the variance between cells, by main effect and "
                "largest interactions, of the pruned networks before and after fine-tuning, "
                "{intervals}."
            ),
        ),
        Finding(
            name="criterion_by_finetuning",
            compute=lambda e: level_means(e.trials, e.metric, PAIR[::-1]),
            draw=_draw_means,
            caption="Mean {label} for every criterion and fine-tuning, in accuracy points.",
        ),
        Finding(
            name="finetuning_parts",
            compute=_part_shares,
            draw=lambda shares, _, width: share_figure(shares, width=width),
            caption=(
                "Which part of fine-tuning decides {label}? Share of the variance between the "
                "fine-tuned networks' cells, the parts of fine-tuning being factors of their own; "
                "networks without fine-tuning are left out."
            ),
        ),
        Finding(
            name="parts_crossed",
            compute=_crossed_means,
            draw=_draw_crossed,
            caption=(
                "Mean {label} of fine-tuned networks by {parts[0]} and {parts[1]}, in "
                "points.{uncrossed}"
            ),
        ),
        Finding(
            name="estimands",
            compute=lambda e: e.verdicts[0].estimands if e.verdicts else pd.DataFrame(),
            table_caption=(
                "What mattering more can mean, for {label}: fine-tuning and the criterion by "
                "several measures; the interval, over seeds, is of fine-tuning less criterion."
            ),
            columns=(
                columns.text("measure", "estimand"),
                *(columns.Column(term_name(name), _measure(name)) for name in PAIR),
                columns.Column("difference", _measure("difference")),
                columns.Column(
                    "95 % interval",
                    lambda row: f"{_measure('low')(row).split()[0]} to {_measure('high')(row)}",
                ),
                columns.text("larger", "winner"),
            ),
        ),
        Finding(
            name="decomposition",
            compute=lambda e: decompose(e.trials, e.metric),
            each_metric=True,
            table_caption="Full decomposition of {label}",
            folded=True,
            columns=(
                columns.text("term", "term"),
                *columns.estimate("share", "share", columns.tenths_of_percent),
                columns.Column("effect (rms, points)", lambda row: number(row["points"])),
            ),
        ),
    ),
)
