"""How far seeds lie apart, against how far levels do."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.report.figures.style import (
    GREY,
    INK,
    NARROW,
    WIDE,
    outer,
    panelled,
    styled,
    term_colour,
)
from results.statistics.design.words import term_name

LETTERS_LEVEL = 9
"""Of a level's name that has room below its points."""
MOST_ACROSS = 12
"""Levels of a factor side by side; of more, their names stand one below the other."""


def seed_figure(spread: pd.DataFrame, metric: str, width: float | None = None) -> Figure:
    """Draw each level's mean at every seed: ``factor``, ``level``, ``seed``, ``mean`` in points.

    A grey line joins a seed's means, so that one can see whether seeds agree about the order.
    """
    counts = spread.groupby("factor", sort=False)["level"].nunique()
    rooms = [1.0 + count for count in counts]
    if counts.max() > MOST_ACROSS:
        return _downwards(spread, metric, rooms, width or WIDE)
    width = width or 1.0 + 0.72 * sum(rooms)
    with styled(width):
        figure, panels = panelled(len(rooms), width, 3.2 if width >= NARROW else 2.2, rooms)
        for axes, factor in zip(panels, counts.index, strict=True):
            names = _panel(axes, spread, factor, down=False)
            # Words that would run into one another are turned.
            turned = max(map(len, names)) > LETTERS_LEVEL
            axes.set_xticks(range(len(names)), names, rotation=25 if turned else 0,
                            ha="right" if turned else "center")  # fmt: skip
            axes.set_xlim(-0.6, len(names) - 0.4)
        for axes in outer(panels):
            axes.set_ylabel(f"{metric} (%)")
    return figure


def _downwards(spread: pd.DataFrame, metric: str, rooms: list[float], width: float) -> Figure:
    with styled(width):
        size = (width, 0.4 * len(rooms) + 0.2 * sum(rooms))
        figure = Figure(size, layout="constrained")
        grid = figure.subplots(len(rooms), 1, sharex=True, squeeze=False, height_ratios=rooms)
        for axes, factor in zip(grid.flat, spread["factor"].drop_duplicates(), strict=True):
            names = _panel(axes, spread, factor, down=True)
            axes.set_yticks(range(len(names)), names)
            axes.set_ylim(-0.6, len(names) - 0.4)
        grid.flat[-1].set_xlabel(f"{metric} (%)")
    return figure


def _panel(axes: Axes, spread: pd.DataFrame, factor: str, *, down: bool) -> list[str]:
    """Draw a factor's levels, the lowest mean first; return their names."""
    table = spread[spread["factor"] == factor]
    wide = table.pivot_table(index="level", columns="seed", values="mean", observed=True)
    wide = wide.loc[wide.mean(axis=1).sort_values().index]

    def draw(means: pd.Series, mark: str, **how: Any) -> None:
        at = range(len(wide))
        axes.plot(*((means, at) if down else (at, means)), mark, **how)

    for seed in wide.columns:
        draw(wide[seed], "-", color=GREY, lw=0.7, alpha=0.7, zorder=1)
        draw(wide[seed], "o", color=term_colour(factor), ms=4)
    draw(wide.mean(axis=1), "|" if down else "_", color=INK, ms=10 if down else 18, mew=1.6,
         zorder=3)  # fmt: skip
    axes.set_title(f"by {term_name(factor)}")
    return [str(level) for level in wide.index]
