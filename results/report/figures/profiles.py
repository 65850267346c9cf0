"""Performance profiles: which share of trials reaches an accuracy, a line a level."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.report.figures.style import FAINT, LEVEL_COLOURS, canvas, figure_of


def profile_figure(
    profiles: pd.DataFrame, metric: str, ax: Axes | None = None, width: float | None = None
) -> Figure:
    """Draw profiles with bands: as `results.performance_profile` returns them, the level first.

    Of more levels than there are colours the highest and the lowest are named.
    """
    by = str(profiles.columns[0])
    means = profiles.groupby(by)["share"].mean().sort_values()
    half = len(LEVEL_COLOURS) // 2
    named = sorted(means.index if len(means) <= 2 * half else [*means.index[:half],
                                                               *means.index[-half:]])  # fmt: skip
    others = profiles[~profiles[by].isin(named)]
    with canvas(ax, width, 3.0) as axes:
        for i, (_, line) in enumerate(others.groupby(by)):
            label = f"{others[by].nunique()} between them" if i == 0 else None
            axes.plot(line["accuracy"], 100 * line["share"], color=FAINT, lw=0.7, label=label)
        for i, level in enumerate(named):
            line = profiles[profiles[by] == level]
            colour, style = LEVEL_COLOURS[i], ("-", "--", ":", "-.")[i % 4]
            axes.plot(line["accuracy"], 100 * line["share"], style, color=colour, label=str(level))
            low, high = (100 * line[end] for end in ("low", "high"))
            axes.fill_between(line["accuracy"], low, high, color=colour, alpha=0.13, lw=0)
        axes.set_xlabel(f"{metric} of at least (%)")
        axes.set_ylabel("trials (%)")
        axes.set_ylim(0, 100)
        axes.legend(frameon=False, fontsize="small")
    return figure_of(axes)
