"""MRS and the share removed, module by module."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.style import BLACK, GREY, LEVEL_COLOURS, LEVEL_MARKERS, styled


def module_figure(modules: pd.DataFrame) -> Figure:
    """Draw MRS by module and, below, the share of units removed by each allocation.

    ``modules``: ``architecture``, ``module``, ``position``, ``allocation``, ``sparsity``, ``mrs``
    with ``mrs_low`` and ``mrs_high``, ``ratio`` with ``ratio_low`` and ``ratio_high``.
    """
    with styled():
        architectures = list(modules["architecture"].unique())
        figure = Figure(figsize=(4.1 * len(architectures) + 0.5, 5.2))
        grid = figure.subplots(2, len(architectures), squeeze=False, sharex="col")
        for column, architecture in enumerate(architectures):
            table = modules[modules["architecture"] == architecture]
            grid[0][column].set_title(str(architecture))
            _mrs(grid[0][column], table)
            _ratios(grid[1][column], table)
        handles, names = grid[1][0].get_legend_handles_labels()
        columns = min(len(names), 2 * len(architectures))
        figure.legend(
            handles, names, frameon=False, fontsize=7.5, ncols=columns, handlelength=3.2,
            loc="upper center", bbox_to_anchor=(0.5, -0.06),
        )  # fmt: skip
        grid[0][0].set_ylabel("MRS (nats of adversarial loss)")
        grid[1][0].set_ylabel("units removed (%)")
        figure.subplots_adjust(hspace=0.3, wspace=0.25)
    return figure


def _mrs(axes: Axes, table: pd.DataFrame) -> None:
    found = table.dropna(subset=["mrs"]).drop_duplicates("position").sort_values("position")
    axes.bar(found["position"], found["mrs"], color="#BFD7E6", width=0.7)
    low, high = found["mrs_low"].clip(lower=0), found["mrs_high"]
    axes.vlines(found["position"], low, high, color=BLACK, lw=1)
    axes.set_ylim(bottom=0)


def _ratios(axes: Axes, table: pd.DataFrame) -> None:
    lines = table.groupby(["allocation", "sparsity"], sort=True)
    allocations = sorted(table["allocation"].unique())
    sparsities = sorted(table["sparsity"].unique())
    for (allocation, sparsity), line in lines:
        line = line.sort_values("position")
        index = allocations.index(allocation) % len(LEVEL_COLOURS)
        colour = LEVEL_COLOURS[index] if allocation != "uniform" else GREY
        style = ("-", "--", ":", "-.")[sparsities.index(sparsity) % 4]
        axes.plot(
            line["position"], 100 * line["ratio"], style, color=colour,
            marker=LEVEL_MARKERS[index], ms=3.5, label=f"{allocation}, {sparsity:.0%} removed",
        )  # fmt: skip
        axes.fill_between(
            line["position"], 100 * line["ratio_low"], 100 * line["ratio_high"],
            color=colour, alpha=0.13, lw=0,
        )  # fmt: skip
    names = table.drop_duplicates("position").sort_values("position")
    axes.set_ylim(0, 100)
    labels = [str(name).removeprefix("network.") for name in names["module"]]
    axes.set_xticks(names["position"], labels, rotation=40, ha="right", fontsize=7)
