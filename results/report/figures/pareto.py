"""Accuracy against size, with the front of what no other cell beats."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from results.report.figures.style import (
    BLACK,
    LEVEL_COLOURS,
    LEVEL_MARKERS,
    NARROW,
    outer,
    panelled,
    styled,
)
from results.statistics.levels.pareto import SIZES

LABELS = {"params": "parameters", "macs": "MACs"}


def pareto_figure(
    cells: pd.DataFrame, metric: str, by: str = "finetuning", width: float | None = None
) -> Figure:
    """Draw every cell and the Pareto front, a panel a size; see `results.pareto_front`."""
    sizes = [name for name in SIZES if name in cells]
    levels = sorted(cells[by].unique()) if by in cells else ["all"]
    width = width or 3.6 * len(sizes) + 0.6
    with styled(width):
        figure, grid = panelled(len(sizes), width, 3.4 if width >= NARROW else 2.5)
        for axes, size in zip(grid, sizes, strict=True):
            for index, level in enumerate(levels):
                part = cells[cells[by] == level] if by in cells else cells
                axes.plot(
                    part[size], part["mean"], LEVEL_MARKERS[index % len(LEVEL_MARKERS)],
                    color=LEVEL_COLOURS[index % len(LEVEL_COLOURS)], ms=4, alpha=0.7, mew=0,
                    label=str(level), rasterized=len(cells) > 2000,
                )  # fmt: skip
            front = cells[cells[f"front_{size}"]].sort_values(size)
            axes.step(front[size], front["mean"], where="post", color=BLACK, lw=1.2)
            axes.errorbar(
                front[size], front["mean"], [front["mean"] - front["low"],
                front["high"] - front["mean"]] if front["low"].notna().all() else None,
                fmt="none", ecolor=BLACK, lw=0.8,
            )  # fmt: skip
            axes.set_xscale("log")
            axes.set_xlabel(f"{LABELS[size]} left")
            axes.minorticks_off()
            low, high = cells[size].min(), cells[size].max()
            ticks = sorted({low, (low * high) ** 0.5, high})
            axes.set_xticks(ticks, [_short(tick) for tick in ticks])
        if isinstance(engine := figure.get_layout_engine(), ConstrainedLayoutEngine):
            engine.set(wspace=0.08)
        for axes in outer(grid):
            axes.set_ylabel(f"{metric} (%)")
        handles, names = grid[0].get_legend_handles_labels()
        figure.legend(
            handles, names, frameon=False, fontsize="small",
            ncols=min(6 if width >= NARROW else 3, len(names)), markerscale=1.4,
            loc="outside upper center",
        )  # fmt: skip
    return figure


def _short(value: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"
