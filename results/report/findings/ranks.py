"""Does fine-tuning change the criteria's order? Ranks, and levels pair by pair."""

from __future__ import annotations

from contextlib import suppress

import pandas as pd

from results.errors import AnalysisError
from results.report import columns
from results.report.figures.average_ranks import average_rank_figure
from results.report.figures.profiles import profile_figure
from results.report.figures.ranks import rank_figure
from results.report.finding import Evidence, Finding, Section, stacked
from results.statistics.design.words import metric_label, number, percent
from results.statistics.levels.average_ranks import average_ranks
from results.statistics.levels.by_image import compare_outcomes
from results.statistics.levels.pairwise import compare_levels
from results.statistics.levels.profiles import performance_profile
from results.statistics.levels.ranks import before_and_after, rank_agreement, rank_flow
from results.statistics.levels.unit_agreement import unit_agreement
from results.statistics.shares.comparison import PAIR

PAIRED = (
    columns.text("factor", "factor"),
    columns.Column("levels", lambda row: f"{row['first']} less {row['second']}", text=True),
    *columns.estimate("difference", "mean"),
    columns.p_value("p", "p"),
)


def _flow(evidence: Evidence) -> pd.DataFrame:
    if not set(PAIR) <= set(evidence.factors):
        return pd.DataFrame()
    return rank_flow(evidence.trials, evidence.metric)


def _pairs(evidence: Evidence) -> pd.DataFrame:
    """Return the pairs of criteria and those of fine-tunings, whichever the data carry."""
    tables = []
    for factor in PAIR[::-1]:
        with suppress(AnalysisError):
            tables.append(compare_levels(evidence.trials, evidence.metric, factor))
    return stacked(tables)


def _pairs_by_image(evidence: Evidence) -> pd.DataFrame:
    trials, outcomes = evidence.trials, evidence.loaded.evaluations
    done = trials[(trials["status"] == "done") & trials[evidence.metric].notna()]
    if done["seed"].nunique() < 2:
        return pd.DataFrame()
    factors = [factor for factor in PAIR[::-1] if done[factor].nunique() > 1]
    return stacked([
        compare_outcomes(of_one, outcomes, evidence.metric, factor).assign(dataset=name)
        for factor in factors
        for name, of_one in trials.groupby("dataset")
    ])  # fmt: skip


SECTION = Section(
    name="ranks",
    heading="Does fine-tuning change the criteria\N{RIGHT SINGLE QUOTATION MARK}s order?",
    link="The criteria\N{RIGHT SINGLE QUOTATION MARK}s order",
    findings=(
        Finding(
            name="rank_flow",
            compute=_flow,
            draw=lambda flow, _, width: rank_figure(flow, width=width),
            caption=(
                "The criteria's ranks by {label} before fine-tuning and after each fine-tuning, "
                "over all other factors; small numbers are means in accuracy points."
            ),
        ),
        Finding(
            name="rank_agreement",
            compute=lambda e: rank_agreement(e.trials, e.metric).query("pairs > 0"),
            table_caption=(
                "Are criteria ranked alike by {label} at every level of another factor? Mean of "
                "Kendall's tau between levels; 1 is always, 0 not at all. The seed's row is what "
                "single seeds reach with one another."
            ),
            columns=(
                columns.text("across", "factor"),
                *columns.estimate("tau", "tau", lambda value: number(value, 2)),
                columns.count("pairs"),
            ),
        ),
        Finding(
            name="average_ranks",
            compute=lambda e: average_ranks(e.trials, e.metric),
            draw=lambda ranks, _, width: average_rank_figure(ranks, width=width),
            caption=(
                "Critical-difference diagram: ranks of criteria by {label}, averaged over cells "
                "and seeds. Nemenyi's test at 5 %, in which seeds alone count as repetitions."
            ),
        ),
        Finding(
            name="profile_by_criterion",
            compute=lambda e: performance_profile(e.trials, e.metric, "criterion"),
            draw=lambda profiles, e, width: profile_figure(
                profiles, metric_label(e.metric), width=width
            ),
            caption=(
                "Which share of the trials of a criterion reaches each {label}, {intervals}: where "
                "one line lies above another everywhere, its criterion is the better one whatever "
                "is wanted."
            ),
        ),
        Finding(
            name="before_and_after",
            compute=lambda e: before_and_after(e.trials, e.metric),
            table_caption=(
                "Does {label} before fine-tuning tell that after it? Kendall's tau between both "
                "orders of the criteria; 1 is the same order, 0 none in common."
            ),
            columns=(
                columns.text("fine-tuning", "finetuning"),
                *columns.estimate("tau", "tau", lambda value: number(value, 2)),
            ),
        ),
        Finding(
            name="unit_agreement",
            compute=lambda e: unit_agreement(e.trials, e.loaded.modules),
            table_caption=(
                "Do criteria keep the same units? Intersection over union of what two criteria "
                "keep of the same dense network, module by module, and what units drawn at random "
                "would have."
            ),
            folded=True,
            columns=(
                columns.text("architecture", "architecture"),
                columns.Column("removed", lambda row: percent(row["sparsity"])),
                columns.Column(
                    "criteria", lambda row: f"{row['first']} and {row['second']}", text=True
                ),
                columns.text("module", "module"),
                *columns.estimate("IoU", "iou", lambda value: number(value, 2)),
                columns.Column("by chance", lambda row: number(row["by_chance"], 2)),
            ),
        ),
        Finding(
            name="pairwise",
            compute=_pairs,
            table_caption=(
                "Every two levels, paired by cell and seed, in points of {label}. p-values are "
                "corrected by Holm's method; levels are equivalent where both one-sided tests "
                "reject a difference of half a point."
            ),
            folded=True,
            columns=(
                *PAIRED,
                columns.p_value("p, half a point", "p_equal"),
                columns.text("finding", "finding"),
            ),
        ),
        Finding(
            name="pairwise_images",
            compute=_pairs_by_image,
            caveat="No comparison image by image",
            table_caption=(
                "The same, image by image ({label}): errors are clustered by seed and by image. "
                "disagree: the share of images on which two networks alike in all else differ."
            ),
            folded=True,
            columns=(
                columns.text("data set", "dataset"),
                *PAIRED,
                columns.Column("disagree", lambda row: percent(row["disagree"], 1)),
                columns.text("finding", "finding"),
            ),
        ),
    ),
)
