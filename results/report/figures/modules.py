"""MRS and what each allocation keeps, module by module."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from results.report.figures.heat import ON_DARK, ON_LIGHT
from results.report.figures.style import BLACK, NARROW, styled

MRS_HEIGHT, ROW_HEIGHT = 1.7, 0.23
"""Inches: of the panel of MRS, and of an allocation's row."""
ROOM = 16
"""Modules of a network whose widths and names there is room for."""


def module_figure(modules: pd.DataFrame, width: float | None = None) -> Figure:
    """Draw MRS by module and, below, how many units each allocation keeps at each sparsity.

    The colour is the share of the module's units that is removed, the number what is kept.

    ``modules``: as `results.statistics.levels.by_module.module_means` returns it.
    """
    architectures = list(modules["architecture"].unique())
    width = width or 4.1 * len(architectures) + 0.5
    rows = len(modules.drop_duplicates(["allocation", "sparsity"]))
    with styled(width):
        stacked = width < NARROW and len(architectures) > 1
        shares = (MRS_HEIGHT, max(1.0, ROW_HEIGHT * rows))
        height = sum(shares) + 1.3
        size = (width, height * (len(architectures) if stacked else 1))
        figure = Figure(figsize=size, layout="constrained")
        if stacked:
            parts = figure.subfigures(len(architectures), 1, squeeze=False).flat
            columns = [part.subplots(2, 1, height_ratios=shares, sharex=True) for part in parts]
        else:
            grid = figure.subplots(
                2, len(architectures), squeeze=False, height_ratios=shares, sharex="col"
            )
            columns = list(grid.T)
        for number, (column, architecture) in enumerate(zip(columns, architectures, strict=True)):
            table = modules[modules["architecture"] == architecture]
            image = _column(column, table, str(architecture), stacked or number == 0)
            if column is columns[-1]:
                bar = figure.colorbar(
                    image, ax=column[1] if stacked else [each[1] for each in columns],
                    location="bottom", shrink=0.5, aspect=40,
                )  # fmt: skip
                bar.set_label("units removed (%); in the cells, units kept")
                bar.outline.set_visible(False)
    return figure


def _column(
    axes: Sequence[Axes], table: pd.DataFrame, architecture: str, labelled: bool
) -> AxesImage:
    """Draw an architecture's two panels, one below the other."""
    mrs, kept = axes
    mrs.set_title(architecture)
    mrs.set_ylabel("MRS (nats of loss)" if labelled else "")
    _mrs(mrs, table)
    image = _kept(kept, table, labelled)
    dense = table.drop_duplicates("position").sort_values("position")
    names = [
        f"{str(name).removeprefix('network.')}, {width:.0f}"
        for name, width in zip(dense["module"], dense["width_before"], strict=True)
    ]
    every = -(-len(names) // ROOM)
    kept.set_xticks(
        range(0, len(names), every), names[::every], rotation=40, ha="right", fontsize="x-small"
    )
    return image


def _mrs(axes: Axes, table: pd.DataFrame) -> None:
    places = {position: place for place, position in enumerate(sorted(table["position"].unique()))}
    measured = table.dropna(subset=["mrs"]).drop_duplicates("position")
    at = measured["position"].map(places)
    axes.bar(at, measured["mrs"], color="#BFD7E6", width=0.7)
    axes.vlines(at, measured["mrs_low"].clip(lower=0), measured["mrs_high"], color=BLACK, lw=1)
    axes.set_ylim(bottom=0)


def _kept(axes: Axes, table: pd.DataFrame, labelled: bool) -> AxesImage:
    """Draw a row an allocation, those of a sparsity together and uniform ratios first."""
    uniform = (table["allocation"] != "uniform").rename("uniform")
    rows = table.assign(uniform=uniform)
    order = ["sparsity", "uniform", "allocation"]
    removed, kept = (
        rows.pivot_table(index=order, columns="position", values=column)
        for column in ("ratio", "width_after")
    )
    image = axes.imshow(100 * removed, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    if removed.shape[1] <= ROOM:
        units = kept.to_numpy(dtype=float)
        for (i, j), share in np.ndenumerate(removed.to_numpy(dtype=float)):
            axes.text(
                j, i, f"{units[i, j]:.0f}", ha="center", va="center", fontsize="small",
                color=ON_DARK if share < 0.5 else ON_LIGHT,
            )  # fmt: skip
    levels = removed.index.to_frame()
    names = levels["allocation"] + levels["sparsity"].map(", {:.0%} removed".format)
    axes.set_yticks(range(len(names)), list(names) if labelled else [], fontsize="small")
    axes.tick_params(length=0)
    for row in np.flatnonzero(np.diff(levels["sparsity"])):
        axes.axhline(row + 0.5, color=ON_DARK, lw=2)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return image
