"""MRS and the share removed, module by module."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.report.figures.style import BLACK, GREY, LEVEL_COLOURS, LEVEL_MARKERS, styled


def module_figure(modules: pd.DataFrame, width: float | None = None) -> Figure:
    """Draw MRS by module and, below, the share of units that each allocation removes, and keeps.

    ``modules``: as `results.statistics.levels.by_module.module_means` returns it.
    """
    architectures = list(modules["architecture"].unique())
    width = width or 4.1 * len(architectures) + 0.5
    with styled(width):
        figure = Figure(figsize=(width, 7.2), layout="constrained")
        grid = figure.subplots(3, len(architectures), squeeze=False, sharex="col")
        for column, architecture in enumerate(architectures):
            table = modules[modules["architecture"] == architecture]
            grid[0][column].set_title(str(architecture))
            _mrs(grid[0][column], table)
            _lines(grid[1][column], table, "ratio", 100)
            grid[1][column].set_ylim(0, 100)
            dense = table.drop_duplicates("position").sort_values("position")
            grid[2][column].step(
                dense["position"], dense["width_before"], where="mid", color=BLACK, lw=0.9,
                label="dense",
            )  # fmt: skip
            _lines(grid[2][column], table, "width_after", 1)
            grid[2][column].set_ylim(bottom=0)
            names = [str(name).removeprefix("network.") for name in dense["module"]]
            grid[2][column].set_xticks(dense["position"], names, rotation=40, ha="right",
                                       fontsize="x-small")  # fmt: skip
        handles, names = grid[2][0].get_legend_handles_labels()
        columns = max(1, min(len(names), round(width / 2.2)))
        figure.legend(
            handles, names, frameon=False, fontsize="small", ncols=columns, handlelength=3.2,
            loc="outside lower center",
        )  # fmt: skip
        grid[0][0].set_ylabel("MRS (nats of loss)")
        grid[1][0].set_ylabel("units removed (%)")
        grid[2][0].set_ylabel("units kept")
    return figure


def _mrs(axes: Axes, table: pd.DataFrame) -> None:
    measured = table.dropna(subset=["mrs"]).drop_duplicates("position").sort_values("position")
    axes.bar(measured["position"], measured["mrs"], color="#BFD7E6", width=0.7)
    low, high = measured["mrs_low"].clip(lower=0), measured["mrs_high"]
    axes.vlines(measured["position"], low, high, color=BLACK, lw=1)
    axes.set_ylim(bottom=0)


def _lines(axes: Axes, table: pd.DataFrame, column: str, scale: float) -> None:
    lines = table.groupby(["allocation", "sparsity"], sort=True)
    allocations = sorted(table["allocation"].unique())
    sparsities = sorted(table["sparsity"].unique())
    for (allocation, sparsity), line in lines:
        line = line.sort_values("position")
        index = allocations.index(allocation) % len(LEVEL_COLOURS)
        colour = LEVEL_COLOURS[index] if allocation != "uniform" else GREY
        style = ("-", "--", ":", "-.")[sparsities.index(sparsity) % 4]
        axes.plot(
            line["position"], scale * line[column], style, color=colour,
            marker=LEVEL_MARKERS[index], ms=3.5, label=f"{allocation}, {sparsity:.0%} removed",
        )  # fmt: skip
        low, high = (scale * line[f"{column}_{end}"] for end in ("low", "high"))
        axes.fill_between(line["position"], low, high, color=colour, alpha=0.13, lw=0)
