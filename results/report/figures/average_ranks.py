"""The critical-difference diagram: average ranks on a line, bars over those that are not apart."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.report.figures.style import BLACK, GREY, INK, canvas, figure_of, fitted

STEP = 0.28
"""Between two lines of names or bars."""
TICK = 0.2
"""Inches between two ranks that are written."""


def average_rank_figure(
    ranks: pd.DataFrame, ax: Axes | None = None, width: float | None = None
) -> Figure:
    """Draw average ranks, the best on the left, and bars over levels that are not told apart.

    ``ranks``: as `results.average_ranks` returns it: the level first, ``rank``, ``apart``.
    """
    names, values = ranks.iloc[:, 0].astype(str).tolist(), ranks["rank"].tolist()
    bars, half = _alike(values, float(ranks["apart"].iloc[0])), (len(names) + 1) // 2
    with canvas(ax, width, 1.0 + 0.25 * (half + len(bars))) as axes:
        for i, (name, value) in enumerate(zip(names, values, strict=True)):
            left = i < half
            y = -STEP * (len(bars) + 1 + (i if left else len(names) - 1 - i))
            edge = 1 - 0.04 * len(names) if left else len(names) + 0.04 * len(names)
            axes.plot([value, value, edge], [0, y, y], color=GREY, lw=0.9)
            axes.plot(value, 0, "o", color=BLACK, ms=4)
            axes.annotate(f"{name} ({value:.2f})", (edge, y), (-3 if left else 3, 0),
                          textcoords="offset points", ha="right" if left else "left",
                          va="center", fontsize="small", color=INK,
                          annotation_clip=False)  # fmt: skip
        for i, (first, last) in enumerate(bars):
            y = -STEP * (i + 0.75)
            axes.plot([first - 0.03, last + 0.03], [y, y], color=BLACK, lw=2.5)
        axes.set_xlim(1 - 0.05 * len(names), len(names) + 0.05 * len(names))
        axes.set_ylim(-STEP * (len(bars) + half + 1), 0.02)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.spines["top"].set_visible(True)
        axes.spines["top"].set_bounds(1, len(names))
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        room = 0.5 * figure_of(axes).get_figwidth() / len(names)
        axes.set_xticks(range(1, len(names) + 1, max(1, round(TICK / room))))
        axes.set_yticks([])
        label = "average rank (1 is best); a bar joins levels that are not told apart"
        axes.set_xlabel(fitted(label, axes, 0.72))
    return figure_of(axes)


def _alike(values: list[float], apart: float) -> list[tuple[float, float]]:
    """Return the longest runs of sorted ranks that lie within the critical difference."""
    runs: list[tuple[float, float]] = []
    for i, first in enumerate(values):
        last = max(value for value in values[i:] if value - first < apart)
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))
    return runs
