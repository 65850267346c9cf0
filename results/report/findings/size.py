"""How much? Effects and means in accuracy points."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from results.report import columns
from results.report.figures.curves import curve_figure
from results.report.figures.forest import forest_figure
from results.report.figures.pareto import pareto_figure
from results.report.figures.published import published_figure
from results.report.finding import Evidence, Finding, Section, stacked
from results.report.published import beside
from results.statistics.design.words import metric_label
from results.statistics.levels.contrasts import level_means
from results.statistics.levels.effects import cost_of_choice, level_effects
from results.statistics.levels.pareto import pareto_front
from results.statistics.levels.tries import expected_best
from results.statistics.shares.comparison import PAIR

MEANS = (
    columns.text("factor", "factor"),
    columns.text("level", "level"),
    *columns.estimate("mean", "mean"),
    columns.count("trials"),
)


def _all_levels(trials: pd.DataFrame, metric: str, factors: Sequence[str]) -> pd.DataFrame:
    tables = [
        level_means(trials, metric, [factor])
        .rename(columns={factor: "level"})
        .assign(factor=factor, level=lambda t: t["level"].astype(str))
        for factor in factors
    ]
    order = ["factor", "level", "mean", "low", "high", "seeds", "trials"]
    return stacked(tables).reindex(columns=order)


def _by_sparsity(evidence: Evidence) -> pd.DataFrame:
    """Return the means of criteria and fine-tunings, or of its chief parts, by sparsity."""
    varying = {*evidence.factors, *evidence.crossed}
    shown = ["criterion", *evidence.crossed[:2]] if evidence.by_parts else PAIR[::-1]
    return stacked([
        level_means(evidence.trials, evidence.metric, [factor, "sparsity"])
        .rename(columns={factor: "level"})
        .assign(factor=factor)
        for factor in shown
        if factor in varying
    ])  # fmt: skip


def _best_of_tries(evidence: Evidence) -> pd.DataFrame:
    return stacked([
        expected_best(evidence.trials, evidence.metric, factor)
        .rename(columns={factor: "level"})
        .assign(factor=factor)
        for factor in PAIR[::-1]
        if factor in evidence.factors
    ])  # fmt: skip


def once(effects: pd.DataFrame) -> pd.DataFrame:
    """Return effects in which a factor of two levels has one row: the other's is its mirror."""
    rows = []
    for _, of_one in effects.groupby("factor", sort=False):
        if len(of_one) == 2:
            best, other = of_one.sort_values("effect", ascending=False)["level"]
            of_one = of_one.nlargest(1, "effect").assign(level=f"{best}, not {other}")
        rows.append(of_one)
    return pd.concat(rows)


def _draw_effects(effects: pd.DataFrame, _: Evidence, width: float | None) -> Figure:
    label = "accuracy points"
    return forest_figure(once(effects), "effect", label, width=width)


def _draw_curves(curves: pd.DataFrame, evidence: Evidence, width: float | None) -> Figure | None:
    if "sparsity" not in evidence.factors:
        return None
    panels = {
        str(factor): panel.rename(columns={"level": str(factor)})
        for factor, panel in curves.groupby("factor", sort=True)
    }
    return curve_figure(panels, metric_label(evidence.metric), width)


SECTION = Section(
    name="size",
    heading="How much, in accuracy points?",
    link="How much?",
    findings=(
        Finding(
            name="level_effects",
            compute=lambda e: level_effects(e.trials, e.metric),
            draw=_draw_effects,
            caption=(
                "Effects on {label}: how far each level lies from the mean of its factor's levels, "
                "{intervals}. Of two levels the better is drawn: the other lies as far on the "
                "other side."
            ),
        ),
        Finding(
            name="cost_of_choice",
            compute=lambda e: cost_of_choice(e.trials, e.metric),
            table_caption=(
                "What choosing the worst level costs against the best, in points of {label}: one "
                "choice for all cells, and the choice made anew in every cell. Levels are chosen "
                "by the other seeds and judged at the one left out."
            ),
            columns=(
                columns.text("factor", "factor"),
                columns.text("best", "best"),
                columns.text("worst", "worst"),
                *columns.estimate("cost", "cost"),
                *columns.estimate(
                    "anew in every cell", "cost_within", ends=("within_low", "within_high")
                ),
            ),
        ),
        Finding(
            name="expected_best",
            compute=_best_of_tries,
            table_caption=(
                "What to expect of the best of some cells that are drawn at random, in points of "
                "{label}, one factor held: the other seeds choose, and the one left out judges."
            ),
            folded=True,
            columns=(
                columns.text("factor", "factor"),
                columns.text("level", "level"),
                columns.count("tries"),
                *columns.estimate("mean", "mean"),
            ),
        ),
        Finding(
            name="accuracy_by_sparsity",
            compute=_by_sparsity,
            draw=_draw_curves,
            caption="{Label} after fine-tuning against sparsity: means, {intervals}.",
        ),
        Finding(
            name="pareto",
            compute=lambda e: pareto_front(e.trials, e.metric),
            draw=lambda cells, e, width: pareto_figure(cells, metric_label(e.metric), width=width),
            caption=(
                "{Label} against what is left of the network, a point a cell, coloured by "
                "fine-tuning; the black line is the Pareto front of means, {intervals}."
            ),
        ),
        Finding(
            name="published",
            compute=lambda e: beside(e.trials),
            draw=lambda rows, _, width: published_figure(rows, width),
            caption=(
                "AutoAttack accuracy beside the adversarial pruning benchmark's, where network, "
                "data, granularity and sparsity agree. Ours is the best of its methods, chosen on "
                "these test images, which flatters it; published figures are single runs, without "
                "a spread over seeds."
            ),
            table_caption="The figures published, and ours, in percent.",
            folded=True,
            columns=(
                columns.text("data", "dataset"),
                columns.text("network", "architecture"),
                columns.text("removed", "granularity"),
                columns.share("of it", "sparsity"),
                columns.text("method", "method"),
                columns.share("clean", "clean"),
                columns.share("AutoAttack", "autoattack"),
                columns.share("ours, clean", "ours_clean"),
                columns.share("ours, AutoAttack", "ours_autoattack"),
                columns.text("ours", "ours"),
            ),
        ),
        Finding(
            name="level_means",
            compute=lambda e: _all_levels(e.trials, e.metric, e.factors),
            table_caption="Mean {label} after fine-tuning, in accuracy points.",
            folded=True,
            columns=MEANS,
        ),
        Finding(
            name="part_means",
            compute=lambda e: _all_levels(e.by_part, e.metric, e.crossed),
            table_caption=(
                "Mean {label} of fine-tuned networks by the parts of fine-tuning, in accuracy "
                "points.{uncrossed}"
            ),
            folded=True,
            columns=MEANS,
        ),
    ),
)
