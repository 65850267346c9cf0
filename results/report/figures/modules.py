"""MRS and the share removed, module by module."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.report.figures.style import (
    BLACK,
    GREY,
    LEVEL_COLOURS,
    LEVEL_MARKERS,
    NARROW,
    styled,
)

LABELS = ("MRS (nats of loss)", "units removed (%)", "units kept")


def module_figure(modules: pd.DataFrame, width: float | None = None) -> Figure:
    """Draw MRS by module and, below, the share of units that each allocation removes, and keeps.

    ``modules``: as `results.statistics.levels.by_module.module_means` returns it.
    """
    architectures = list(modules["architecture"].unique())
    width = width or 4.1 * len(architectures) + 0.5
    with styled(width):
        stacked = width < NARROW and len(architectures) > 1
        height = 7.2 if width >= NARROW else 5.0 * len(architectures)
        figure = Figure(figsize=(width, height), layout="constrained")
        if stacked:
            parts = figure.subfigures(len(architectures), 1, squeeze=False).flat
            columns = [part.subplots(3, 1, sharex=True) for part in parts]
        else:
            grid = figure.subplots(3, len(architectures), squeeze=False, sharex="col")
            columns = list(grid.T)
        for number, (column, architecture) in enumerate(zip(columns, architectures, strict=True)):
            table = modules[modules["architecture"] == architecture]
            _column(column, table, str(architecture), stacked or number == 0)
        handles, names = columns[0][2].get_legend_handles_labels()
        figure.legend(
            handles, names, frameon=False, fontsize="small", handlelength=3.2,
            ncols=max(1, min(len(names), round(width / 2.2))), loc="outside lower center",
        )  # fmt: skip
    return figure


def _column(axes: Sequence[Axes], table: pd.DataFrame, architecture: str, labelled: bool) -> None:
    """Draw an architecture's three panels, one below the other."""
    mrs, removed, kept = axes
    mrs.set_title(architecture)
    _mrs(mrs, table)
    _lines(removed, table, "ratio", 100)
    removed.set_ylim(0, 100)
    dense = table.drop_duplicates("position").sort_values("position")
    kept.step(
        dense["position"], dense["width_before"], where="mid", color=BLACK, lw=0.9, label="dense"
    )
    _lines(kept, table, "width_after", 1)
    kept.set_ylim(bottom=0)
    names = [str(name).removeprefix("network.") for name in dense["module"]]
    kept.set_xticks(dense["position"], names, rotation=40, ha="right", fontsize="x-small")
    for one, label in zip(axes, LABELS, strict=True):
        one.set_ylabel(label if labelled else "")


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
