"""What do adaptive ratios add? Modules, allocations against uniform."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from results.report import columns
from results.report.figures.modules import module_figure
from results.report.finding import Evidence, Finding, Section, stacked
from results.statistics.design.words import metric_label, term_name
from results.statistics.levels.by_module import module_means
from results.statistics.levels.contrasts import paired_difference
from results.statistics.levels.standing import EQUAL

FEW = 3
"""With more allocations than this, the page's table is of all cells together."""


def _against_uniform(evidence: Evidence) -> pd.DataFrame:
    """Return each allocation against uniform at equal achieved budgets, by cell and seed."""
    trials, equal = evidence.trials, _equal_budgets(evidence.trials)
    tables = []
    for metric in evidence.metrics:
        for allocation in sorted(set(trials["allocation"].unique()) - {"uniform"}):
            for factor in ("all", "finetuning", "sparsity"):
                by = () if factor == "all" else (factor,)
                table = paired_difference(
                    trials, metric, "allocation", allocation, "uniform", by, equal=equal
                )
                level = table[factor].astype(str) if by else "all"
                table = table.drop(columns=list(by)).assign(level=level)
                tables.append(table.assign(metric=metric, allocation=allocation, factor=factor))
    order = ["metric", "allocation", "factor", "level", "mean", "low", "high", "seeds", "pairs"]
    return stacked(tables).reindex(columns=order)


def _equal_budgets(trials: pd.DataFrame) -> tuple[str, float] | None:
    """Return the column of the budget that was achieved, and by how much equal ones may differ."""
    if "budget" not in trials or trials["budget"].nunique() != 1:
        return None
    column = f"{trials['budget'].iloc[0]}_removed"
    return (column, EQUAL) if column in trials else None


def _within(row: pd.Series) -> str:
    return "all" if row["factor"] == "all" else f"{term_name(row['factor'])} {row['level']}"


def _leading(table: pd.DataFrame, evidence: Evidence) -> pd.Series[bool]:
    """Return which rows are shown at once: of many allocations, what they add over all cells."""
    mine = table["metric"] == evidence.metric
    few = table["allocation"].nunique() <= FEW
    return mine if few else mine & (table["factor"] == "all")


def _draw_modules(modules: pd.DataFrame, _: Evidence, width: float | None) -> Figure | None:
    return module_figure(modules, width) if modules["mrs"].notna().any() else None


SECTION = Section(
    name="adaptive",
    heading="What do adaptive ratios add?",
    link="Adaptive ratios",
    findings=(
        Finding(
            name="modules",
            compute=lambda e: module_means(e.trials, e.loaded.modules),
            draw=_draw_modules,
            caption=(
                "Above: Module Robust Sensitivity of every prunable module. Below: how many of its "
                "units each allocation keeps; beside its name, how many the dense network has. "
                "Means over criteria and seeds, MRS {intervals}. MRS is our definition "
                "(docs/mrs.md)."
            ),
        ),
        Finding(
            name="adaptive_ratios",
            compute=_against_uniform,
            table_caption=(
                "Accuracy points against uniform ratios, paired by cell and seed, where the "
                "achieved budgets are within a point of each other."
            ),
            leads=_leading,
            columns=(
                columns.Column("metric", lambda row: metric_label(row["metric"]), text=True),
                columns.text("allocation", "allocation"),
                columns.Column("within", _within, text=True),
                *columns.estimate("difference", "mean"),
                columns.count("pairs"),
            ),
        ),
    ),
    empty="There are no adaptive ratios beside uniform ones in this sweep.",
)
