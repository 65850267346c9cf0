"""A forest plot: estimates with their intervals, one below the other."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.report.figures.style import (
    FAINT,
    INK,
    canvas,
    figure_of,
    fitted,
    term_colour,
)
from results.statistics.design.words import number, term_name

MOST_ROWS = 60
"""More rows are not read by anyone; the largest are drawn, and the CSV has them all."""


def forest_figure(
    table: pd.DataFrame,
    value: str,
    label: str,
    digits: int = 1,
    ax: Axes | None = None,
    width: float | None = None,
) -> Figure:
    """Draw estimates with intervals around a line at zero, grouped by factor.

    ``table``: ``factor``, ``level``, the column ``value``, ``low``, ``high``; rows in the order in
    which they are drawn, top first.
    """
    if len(table) > MOST_ROWS:
        largest = table[value].abs().nlargest(MOST_ROWS).index
        table = table[table.index.isin(largest)]
    rows = table.to_dict("records")
    height = 0.9 + 0.26 * len(rows) + 0.26 * table["factor"].nunique()
    with canvas(ax, width, height) as axes:
        y, places, names, last = 0.0, [], [], None
        for row in rows:
            y -= 1.0 if row["factor"] == last else 2.1
            colour = term_colour(str(row["factor"]))
            if np.isfinite(row["low"]):
                axes.plot([row["low"], row["high"]], [y, y], color=colour, lw=1.3)
            axes.plot(row[value], y, "o", color=colour, ms=5)
            axes.annotate(
                number(row[value], digits), (1, y), (4, -3), xycoords=("axes fraction", "data"),
                textcoords="offset points", fontsize="small", color=colour, annotation_clip=False,
            )  # fmt: skip
            if row["factor"] != last:
                axes.annotate(
                    term_name(str(row["factor"])), (0, y + 1.0), (-6, -3), color=colour,
                    xycoords=("axes fraction", "data"), textcoords="offset points", ha="right",
                    weight="bold", annotation_clip=False,
                )  # fmt: skip
            places.append(y)
            names.append(str(row["level"]))
            last = row["factor"]
        axes.axvline(0, color=FAINT, lw=0.8, zorder=0)
        axes.set_yticks(places, names)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.spines["left"].set_visible(False)
        axes.set_ylim(y - 0.8, -0.6)
        axes.set_xlabel(fitted(label, axes, 0.72))
    return figure_of(axes)
