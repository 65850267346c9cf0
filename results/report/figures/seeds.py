"""How far seeds lie apart, against how far levels do."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from results.report.figures.style import GREY, INK, styled, term_colour
from results.statistics.design.words import term_name


def seed_figure(spread: pd.DataFrame, metric: str, width: float | None = None) -> Figure:
    """Draw each level's mean at every seed: ``factor``, ``level``, ``seed``, ``mean`` in points.

    A grey line joins a seed's means, so that one can see whether seeds agree about the order.
    """
    factors = list(dict.fromkeys(spread["factor"]))
    widths = [1 + spread[spread["factor"] == name]["level"].nunique() for name in factors]
    width = width or 1.0 + 0.72 * sum(widths)
    with styled(width):
        figure = Figure(figsize=(width, 3.2), layout="constrained")
        panels = figure.subplots(
            1, len(factors), sharey=True, squeeze=False, gridspec_kw={"width_ratios": widths}
        )[0]
        for axes, factor in zip(panels, factors, strict=True):
            table = spread[spread["factor"] == factor]
            wide = table.pivot_table(index="level", columns="seed", values="mean", observed=True)
            wide = wide.loc[wide.mean(axis=1).sort_values().index]
            for seed in wide.columns:
                axes.plot(range(len(wide)), wide[seed], color=GREY, lw=0.7, alpha=0.7, zorder=1)
                axes.plot(range(len(wide)), wide[seed], "o", color=term_colour(factor), ms=4)
            axes.plot(range(len(wide)), wide.mean(axis=1), "_", color=INK, ms=18, mew=1.6, zorder=3)
            axes.set_xticks(range(len(wide)), [str(level) for level in wide.index], rotation=25,
                            ha="right")  # fmt: skip
            axes.set_title(f"by {term_name(factor)}")
            axes.set_xlim(-0.6, len(wide) - 0.4)
        panels[0].set_ylabel(f"{metric} (%)")
    return figure
