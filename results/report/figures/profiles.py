"""Performance profiles: which share of trials reaches an accuracy, a line a level."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.report.figures.style import LEVEL_COLOURS, canvas, figure_of


def profile_figure(
    profiles: pd.DataFrame, metric: str, ax: Axes | None = None, width: float | None = None
) -> Figure:
    """Draw profiles with bands: as `results.performance_profile` returns them, the level first."""
    by = str(profiles.columns[0])
    with canvas(ax, width, 3.0) as axes:
        for i, (level, line) in enumerate(profiles.groupby(by, sort=True)):
            colour = LEVEL_COLOURS[i % len(LEVEL_COLOURS)]
            style = ("-", "--", ":", "-.")[i // len(LEVEL_COLOURS) % 4 if i > 7 else i % 4]
            axes.plot(line["accuracy"], 100 * line["share"], style, color=colour, label=str(level))
            low, high = (100 * line[end] for end in ("low", "high"))
            axes.fill_between(line["accuracy"], low, high, color=colour, alpha=0.13, lw=0)
        axes.set_xlabel(f"{metric} of at least (%)")
        axes.set_ylabel("trials (%)")
        axes.set_ylim(0, 100)
        axes.legend(frameon=False, fontsize="small")
    return figure_of(axes)
