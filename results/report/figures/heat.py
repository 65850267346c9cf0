"""A metric for every pair of levels."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.report.figures.style import canvas, figure_of, name_columns
from results.statistics.design.words import term_name

ON_DARK, ON_LIGHT = "#FEFEFE", "#111111"
"""Not the page's own colours: the cells stay as they are when the page is dark."""
DECIMAL, WHOLE = 0.32, 0.18
"""Inches that a cell is wide: of a number with a decimal, and of a whole one."""


def heat_figure(
    means: pd.DataFrame,
    rows: str,
    columns: str,
    metric: str,
    ax: Axes | None = None,
    width: float | None = None,
) -> Figure:
    """Draw the mean of a metric for every pair of levels, in accuracy points.

    It is as wide as its columns ask where no width is given.
    """
    counts = means[rows].nunique(), means[columns].nunique()
    with canvas(ax, width, 1.0 + 0.5 * counts[0], 1.6 + 1.0 * counts[1]) as axes:
        wide = means.pivot_table(index=rows, columns=columns, values="mean", observed=True)
        order = means.groupby(columns, observed=True)["mean"].mean().sort_values().index
        wide = wide[list(order)]
        values = wide.to_numpy(dtype=float)
        image = axes.imshow(values, cmap="cividis", aspect="auto")
        room = 0.7 * figure_of(axes).get_figwidth() / wide.shape[1]
        digits = next((d for d, inches in ((1, DECIMAL), (0, WHOLE)) if room > inches), None)
        middle = (np.nanmin(values) + np.nanmax(values)) / 2
        for (i, j), value in np.ndenumerate(values):
            if digits is not None and np.isfinite(value):  # else no trial has both levels
                colour = ON_DARK if value < middle else ON_LIGHT
                axes.text(j, i, f"{value:.{digits}f}", ha="center", va="center", color=colour)
        name_columns(axes, [str(level) for level in wide.columns], 0.7)
        axes.set_yticks(range(wide.shape[0]), [str(level) for level in wide.index])
        axes.set_xlabel(term_name(columns))
        axes.set_ylabel(term_name(rows))
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        bar = figure_of(axes).colorbar(image, ax=axes, shrink=0.9)
        bar.set_label(f"{metric} (%)")
        bar.outline.set_visible(False)
    return figure_of(axes)
