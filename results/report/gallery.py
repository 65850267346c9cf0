"""Which figures a report has: each with its caption, the table that it draws, and the drawing."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from results.report import figures
from results.report.findings import MOST_LEVELS
from results.report.style import term_name
from results.report.summary import Summary
from results.tables.schema import metric_label

Drawn = tuple[str, str, pd.DataFrame, Figure]


def gallery(summary: Summary) -> Iterator[Drawn]:
    """Go through the figures that the data allow: name, caption, table and drawing."""
    yield from _what_decides(summary)
    yield from _how_much(summary)
    yield from _does_it_hold(summary)
    yield from _networks(summary)


def _what_decides(summary: Summary) -> Iterator[Drawn]:
    tables, label = summary.tables, metric_label(summary.headline)
    if (shares := tables.get("variance_shares")) is not None:
        caption = (
            f"What decides {label}? Share of the variance between cells, by main effect and "
            "largest interactions, of the pruned networks before and after fine-tuning, with 95 % "
            "intervals over seeds."
        )
        yield "variance_shares", caption, shares, figures.share_figure(shares)
    if (parts := tables.get("finetuning_parts")) is not None:
        caption = (
            f"Which part of fine-tuning decides {label}? Share of the variance between the "
            "fine-tuned networks' cells, the parts of fine-tuning being factors of their own; "
            "networks without fine-tuning are left out."
        )
        yield "finetuning_parts", caption, parts, figures.share_figure(parts)
    crossed = tables.get("parts_crossed")
    if crossed is not None:
        first, second = summary.parts[0].parts[:2]
        caption = f"Mean {label} of fine-tuned networks by {first} and {second}, in points."
        drawing = figures.heat_figure(crossed, first, second, label)
        yield "parts_crossed", caption, crossed, drawing
    heat = tables.get("criterion_by_finetuning")
    if heat is not None and (crossed is None or heat["finetuning"].nunique() <= MOST_LEVELS):
        caption = f"Mean {label} for every criterion and fine-tuning, in accuracy points."
        drawing = figures.heat_figure(heat, "criterion", "finetuning", label)
        yield "criterion_by_finetuning", caption, heat, drawing


def _how_much(summary: Summary) -> Iterator[Drawn]:
    tables, label = summary.tables, metric_label(summary.headline)
    if (effects := tables.get("level_effects")) is not None:
        caption = (
            f"Effects on {label}: how far each level lies from the mean of its factor's levels, "
            "with 95 % intervals over seeds."
        )
        drawing = figures.forest_figure(effects, "effect", "accuracy points")
        yield "level_effects", caption, effects, drawing
    if (curves := tables.get("accuracy_by_sparsity")) is not None:
        panels = {
            str(factor): part.rename(columns={"level": str(factor)})
            for factor, part in curves.groupby("factor", sort=True)
        }
        caption = (
            f"{label[:1].upper()}{label[1:]} after fine-tuning against sparsity. Bands are 95 % "
            "intervals of the mean over seeds."
        )
        drawing = figures.curve_figure(panels, label)
        yield "accuracy_by_sparsity", caption, curves, drawing
    if (flow := tables.get("rank_flow")) is not None:
        caption = (
            f"The criteria's ranks by {label} before fine-tuning and after each fine-tuning, over "
            "all other factors; small numbers are means in accuracy points."
        )
        yield "rank_flow", caption, flow, figures.rank_figure(flow)


def _does_it_hold(summary: Summary) -> Iterator[Drawn]:
    tables, label = summary.tables, metric_label(summary.headline)
    if (without := tables.get("without_each_level")) is not None:
        caption = (
            "The difference that the verdict is on, the main-effect share of fine-tuning less that "
            f"of the criterion for {label}, with each level left out in turn."
        )
        shown = _in_percent(without).assign(level=lambda t: "without " + t["level"])
        drawing = figures.forest_figure(
            shown, "difference", "fine-tuning less criterion (% of the variance)", 0
        )
        yield "without_each_level", caption, without, drawing
    if (subsets := tables.get("verdict_by_subset")) is not None:
        caption = f"The same difference for {label} within each subset of the sweep."
        shown = _in_percent(subsets).assign(level=lambda t: t["level"] + " alone")
        drawing = figures.forest_figure(
            shown, "difference", "fine-tuning less criterion (% of the variance)", 0
        )
        yield "verdict_by_subset", caption, subsets, drawing
    if (spread := tables.get("seed_spread")) is not None:
        caption = (
            f"Mean {label} of every level at each seed; a grey line joins a seed's means, dashes "
            "are means over seeds."
        )
        yield "seed_spread", caption, spread, figures.seed_figure(spread, label)


def _in_percent(table: pd.DataFrame) -> pd.DataFrame:
    columns = ["difference", "low", "high"]
    return table.assign(**{name: 100 * table[name] for name in columns})


def _networks(summary: Summary) -> Iterator[Drawn]:
    tables, label = summary.tables, metric_label(summary.headline)
    modules = tables.get("modules")
    if modules is not None and modules["mrs"].notna().any():
        caption = (
            "From above: Module Robust Sensitivity of every prunable module, the share of its "
            "units that each allocation removes, and the width that it keeps. Means over seeds "
            "(and criteria), with 95 % intervals. MRS is our definition, "
            "derived from RiFT (arXiv 2308.02533)."
        )
        yield "modules", caption, modules, figures.module_figure(modules)
    if (cells := tables.get("pareto")) is not None:
        by = term_name("finetuning")
        caption = (
            f"{label[:1].upper()}{label[1:]} against what is left of the network, a point a cell, "
            f"coloured by {by}; the black line is the Pareto front of means, with 95 % intervals."
        )
        yield "pareto", caption, cells, figures.pareto_figure(cells, label)
    if (checks := tables.get("sanity_checks")) is not None:
        caption = (
            "Checks against false robustness, over all final networks: an attack that must be at "
            "least as strong leaves fewer images right, or robustness is only apparent."
        )
        yield "sanity_checks", caption, checks, figures.check_figure(checks)
