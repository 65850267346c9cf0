"""How far seeds lie apart, against how far levels do."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from results.report.figures.style import GREY, INK, NARROW, outer, panelled, styled, term_colour
from results.statistics.design.words import term_name

LETTERS_LEVEL = 9
"""Of a level's name that has room below its points."""


def seed_figure(spread: pd.DataFrame, metric: str, width: float | None = None) -> Figure:
    """Draw each level's mean at every seed: ``factor``, ``level``, ``seed``, ``mean`` in points.

    A grey line joins a seed's means, so that one can see whether seeds agree about the order.
    """
    factors = list(dict.fromkeys(spread["factor"]))
    widths = [1 + spread[spread["factor"] == name]["level"].nunique() for name in factors]
    width = width or 1.0 + 0.72 * sum(widths)
    with styled(width):
        figure, panels = panelled(len(factors), width, 3.2 if width >= NARROW else 2.2, widths)
        for axes, factor in zip(panels, factors, strict=True):
            table = spread[spread["factor"] == factor]
            wide = table.pivot_table(index="level", columns="seed", values="mean", observed=True)
            wide = wide.loc[wide.mean(axis=1).sort_values().index]
            for seed in wide.columns:
                axes.plot(range(len(wide)), wide[seed], color=GREY, lw=0.7, alpha=0.7, zorder=1)
                axes.plot(range(len(wide)), wide[seed], "o", color=term_colour(factor), ms=4)
            axes.plot(range(len(wide)), wide.mean(axis=1), "_", color=INK, ms=18, mew=1.6, zorder=3)
            names = [str(level) for level in wide.index]
            # Words that would run into one another are turned.
            turned = max(map(len, names)) > LETTERS_LEVEL
            axes.set_xticks(range(len(wide)), names, rotation=25 if turned else 0,
                            ha="right" if turned else "center")  # fmt: skip
            axes.set_title(f"by {term_name(factor)}")
            axes.set_xlim(-0.6, len(wide) - 0.4)
        for axes in outer(panels):
            axes.set_ylabel(f"{metric} (%)")
    return figure
