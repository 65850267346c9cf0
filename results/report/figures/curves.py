"""Accuracy against sparsity, a line a level, with bands."""

from __future__ import annotations

from collections.abc import Sequence

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

FRAME, LINE = 0.9, 0.17
"""Inches: of what is above and below a panel, and of a line of its names."""


def curve_figure(
    panels: dict[str, pd.DataFrame], metric: str, width: float | None = None
) -> Figure:
    """Draw accuracy against sparsity, a panel a factor, a line a level, with bands.

    Each table: the factor's column, ``sparsity``, ``mean``, ``low``, ``high`` in accuracy points.
    """
    width = width or 3.7 * len(panels) + 0.6
    most = max(table[factor].nunique() for factor, table in panels.items())
    height = max(3.4 if width >= NARROW else 2.5, FRAME + LINE * most)
    with styled(width):
        figure, all_axes = panelled(len(panels), width, height)
        for axes, (factor, table) in zip(all_axes, panels.items(), strict=True):
            _curves(axes, factor, table)
            axes.set_title(f"by {term_name(factor)}")
            axes.set_xlabel("share removed (%)")
        for axes, (factor, table) in zip(all_axes, panels.items(), strict=True):
            _end_labels(axes, factor, table, height)  # once the panels' common limits are known
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


def _end_labels(axes: Axes, factor: str, table: pd.DataFrame, height: float) -> None:
    """Name each line at its end; names are pushed apart, never laid over one another."""
    ends = [
        (float(line["mean"].iloc[-1]), 100 * float(line["sparsity"].iloc[-1]), str(level), index)
        for index, (level, line) in enumerate(table.groupby(factor, sort=True))
    ]
    low, high = axes.get_ylim()
    places = pushed_apart(
        [value for value, *_ in sorted(ends)], LINE / (height - FRAME) * (high - low), high
    )
    for place, (_, x, level, index) in zip(places, sorted(ends), strict=True):
        colour = LEVEL_COLOURS[index % len(LEVEL_COLOURS)]
        axes.text(x, place, f"   {level}", va="center", color=colour, fontsize="small")


def pushed_apart(values: Sequence[float], gap: float, highest: float) -> list[float]:
    """Return rising values with a gap between any two: pushed up, and down again from the highest.

    Args:
        values: rising.
        gap: the least between two.
        highest: what none is to be above.
    """
    places: list[float] = []
    for value in values:
        places.append(max(value, places[-1] + gap) if places else value)
    for i in reversed(range(len(places))):
        above = places[i + 1] - gap if i + 1 < len(places) else highest
        places[i] = min(places[i], above)
    return places
