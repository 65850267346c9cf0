"""The rank of every criterion before fine-tuning and after each."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.report.figures.style import (
    LEVEL_COLOURS,
    LEVEL_MARKERS,
    canvas,
    figure_of,
    name_columns,
)
from results.statistics.design.words import number


def rank_figure(
    flow: pd.DataFrame,
    of: str = "criterion",
    ax: Axes | None = None,
    width: float | None = None,
) -> Figure:
    """Draw how ranks change: ``step``, the level ``of``, ``mean`` in accuracy points, ``rank``.

    A line joins a criterion's ranks; where it crosses others, fine-tuning changed the order.
    """
    steps = list(dict.fromkeys(flow["step"]))
    levels = sorted(flow[of].unique())
    with canvas(ax, width, 1.1 + 0.42 * len(levels), 1.6 + 1.5 * len(steps)) as axes:
        for index, level in enumerate(levels):
            line = flow[flow[of] == level].set_index("step").reindex(steps)
            colour = LEVEL_COLOURS[index % len(LEVEL_COLOURS)]
            marker = LEVEL_MARKERS[index % len(LEVEL_MARKERS)]
            # Between the fine-tunings there is no order: only "before" comes before them.
            axes.plot(range(len(steps)), line["rank"], color=colour, alpha=0.55, lw=2)
            axes.plot(range(len(steps)), line["rank"], marker, color=colour, ms=7)
            for x, (rank, mean) in enumerate(zip(line["rank"], line["mean"], strict=True)):
                axes.annotate(
                    number(mean), (x, rank), (0, 8), textcoords="offset points", ha="center",
                    fontsize="x-small", color=colour,
                )  # fmt: skip
            axes.annotate(
                str(level), (len(steps) - 1, line["rank"].iloc[-1]), (12, -3),
                textcoords="offset points", color=colour,
            )  # fmt: skip
        axes.set_ylim(len(levels) + 0.4, 0.3)
        axes.set_yticks(range(1, len(levels) + 1))
        axes.set_xlim(-0.3, len(steps) - 0.7)
        names = [s if s == "before" else f"after {s}" for s in steps]
        name_columns(axes, names)
        axes.set_ylabel("rank (1 is best)")
    return figure_of(axes)
