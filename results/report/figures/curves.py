"""Accuracy against sparsity, a line a level, with bands."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.report.figures.style import (
    LEVEL_COLOURS,
    LEVEL_MARKERS,
    NARROW,
    outer,
    panelled,
    styled,
)
from results.statistics.design.words import term_name


def curve_figure(
    panels: dict[str, pd.DataFrame], metric: str, width: float | None = None
) -> Figure:
    """Draw accuracy against sparsity, a panel a factor, a line a level, with bands.

    Each table: the factor's column, ``sparsity``, ``mean``, ``low``, ``high`` in accuracy points.
    """
    width = width or 3.7 * len(panels) + 0.6
    with styled(width):
        figure, all_axes = panelled(len(panels), width, 3.4 if width >= NARROW else 2.5)
        for axes, (factor, table) in zip(all_axes, panels.items(), strict=True):
            _curves(axes, factor, table)
            axes.set_title(f"by {term_name(factor)}")
            axes.set_xlabel("share removed (%)")
        for axes, (factor, table) in zip(all_axes, panels.items(), strict=True):
            _end_labels(axes, factor, table)  # once the limits that the panels share are known
        for axes in outer(all_axes):
            axes.set_ylabel(f"{metric} (%)")
    return figure


def _curves(axes: Axes, factor: str, table: pd.DataFrame) -> None:
    for index, (_, line) in enumerate(table.groupby(factor, sort=True)):
        colour = LEVEL_COLOURS[index % len(LEVEL_COLOURS)]
        x = 100 * line["sparsity"].to_numpy(dtype=float)
        axes.fill_between(x, line["low"], line["high"], color=colour, alpha=0.13, lw=0)
        marker = LEVEL_MARKERS[index % len(LEVEL_MARKERS)]
        axes.plot(x, line["mean"], color=colour, marker=marker, ms=4.5)
    axes.set_xticks(sorted(100 * table["sparsity"].unique()))
    axes.margins(x=0.08)


def _end_labels(axes: Axes, factor: str, table: pd.DataFrame) -> None:
    """Name each line at its end; names are pushed apart, never laid over one another."""
    ends = [
        (float(line["mean"].iloc[-1]), 100 * float(line["sparsity"].iloc[-1]), str(level), index)
        for index, (level, line) in enumerate(table.groupby(factor, sort=True))
    ]
    low, high = axes.get_ylim()
    last = float("-inf")
    for value, x, level, index in sorted(ends):
        last = max(value, last + 0.06 * (high - low))
        colour = LEVEL_COLOURS[index % len(LEVEL_COLOURS)]
        axes.text(x, last, f"   {level}", va="center", color=colour, fontsize="small")
