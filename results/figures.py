"""Figures: each takes a tidy table and draws it; none computes a statistic."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.style import BLACK, GREY, LEVEL_COLOURS, LEVEL_MARKERS, styled, term_colour, term_name
from results.words import percent


def render(figure: Figure) -> dict[str, bytes]:
    """Return a figure as SVG, PDF and PNG, without a date: the same input gives the same bytes."""
    metadata = {
        "svg": {"Date": None},
        "pdf": {"CreationDate": None},
        "png": {"Software": None},
    }
    found = {}
    with styled():
        for kind, facts in metadata.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=facts, bbox_inches="tight")
            found[kind] = buffer.getvalue()
    return found


SHARE_LIMITS = (-20.0, 112.0)
"""Shares are drawn within these percentages; an interval that leaves them ends in an arrow."""


def share_figure(shares: pd.DataFrame) -> Figure:
    """Draw the share of variance by term, before and after fine-tuning.

    ``shares``: ``term``, ``stage`` (pruned or finetuned), ``share``, ``low``, ``high``.
    """
    with styled():
        order = list(dict.fromkeys(shares["term"]))
        offset = 0.14 if shares["stage"].nunique() > 1 else 0.0
        figure = Figure(figsize=(6.8, 1.1 + 0.42 * len(order)))
        axes = figure.subplots()
        for row in shares.to_dict("records"):
            after = bool(row["stage"] == "finetuned")
            y = len(order) - 1 - order.index(row["term"]) + (offset if after else -offset)
            values = [100 * float(row[name]) for name in ("share", "low", "high")]
            _share(axes, y, values, term_colour(str(row["term"])), after)
        axes.axvline(0, color="#BBBBBB", lw=0.8, zorder=0)
        axes.set_yticks(range(len(order)), [term_name(term) for term in reversed(order)])
        axes.set_ylim(-0.6, len(order) - 0.4)
        axes.set_xlim(*SHARE_LIMITS)
        axes.set_xlabel("share of the variance between cells (%), with 95 % interval over seeds")
        if shares["stage"].nunique() > 1:
            axes.plot([], [], "o", color=BLACK, mfc="white", mew=1.4, label="before fine-tuning")
            axes.plot([], [], "o", color=BLACK, label="after fine-tuning")
            axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=8)
    return figure


def _share(axes: Axes, y: float, values: Sequence[float], colour: str, after: bool) -> None:
    share, low, high = values
    left, right = SHARE_LIMITS
    if np.isfinite(low):
        axes.plot([max(low, left), min(high, right)], [y, y], color=colour, lw=1.2, alpha=0.8)
        for beyond, edge, marker in ((low < left, left, "<"), (high > right, right, ">")):
            if beyond:
                axes.plot(edge, y, marker, color=colour, ms=5, clip_on=False)
    axes.plot(share, y, "o", color=colour, mfc=colour if after else "white", ms=6, mew=1.4)
    if after:
        edge = min(max(share, high if np.isfinite(high) else share), right - 12)
        axes.annotate(
            percent(share / 100), (edge, y), (6, -3), textcoords="offset points",
            fontsize=8, color=colour,
        )  # fmt: skip


def curve_figure(panels: dict[str, pd.DataFrame], metric: str) -> Figure:
    """Draw accuracy against sparsity, a panel a factor, a line a level, with bands.

    Each table: the factor's column, ``sparsity``, ``mean``, ``low``, ``high`` in accuracy points.
    """
    with styled():
        figure = Figure(figsize=(3.7 * len(panels) + 0.6, 3.4))
        all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (factor, table) in zip(all_axes, panels.items(), strict=True):
            _curves(axes, factor, table)
            axes.set_title(f"by {term_name(factor)}")
            axes.set_xlabel("share removed (%)")
        for axes, (factor, table) in zip(all_axes, panels.items(), strict=True):
            _end_labels(axes, factor, table)  # once the limits that the panels share are known
        all_axes[0].set_ylabel(f"{metric} (%)")
        figure.subplots_adjust(wspace=0.4)
    return figure


def _curves(axes: Axes, factor: str, table: pd.DataFrame) -> None:
    for index, (_, line) in enumerate(table.groupby(factor, sort=True)):
        colour = LEVEL_COLOURS[index % len(LEVEL_COLOURS)]
        x = 100 * line["sparsity"].to_numpy(dtype=float)
        axes.fill_between(x, line["low"], line["high"], color=colour, alpha=0.13, lw=0)
        marker = LEVEL_MARKERS[index % len(LEVEL_MARKERS)]
        axes.plot(x, line["mean"], color=colour, marker=marker, ms=4.5)
    axes.set_xticks(sorted(100 * table["sparsity"].unique()))
    axes.margins(x=0.08)


def _end_labels(axes: Axes, factor: str, table: pd.DataFrame) -> None:
    """Name each line at its end; names are pushed apart, never laid over one another."""
    ends = [
        (float(line["mean"].iloc[-1]), 100 * float(line["sparsity"].iloc[-1]), str(level), index)
        for index, (level, line) in enumerate(table.groupby(factor, sort=True))
    ]
    low, high = axes.get_ylim()
    last = float("-inf")
    for value, x, level, index in sorted(ends):
        last = max(value, last + 0.06 * (high - low))
        colour = LEVEL_COLOURS[index % len(LEVEL_COLOURS)]
        axes.text(x, last, f"   {level}", va="center", color=colour, fontsize=8.5)


def heat_figure(means: pd.DataFrame, rows: str, columns: str, metric: str) -> Figure:
    """Draw the mean of a metric for every pair of levels, in accuracy points."""
    with styled():
        wide = means.pivot_table(index=rows, columns=columns, values="mean", observed=True)
        order = means.groupby(columns, observed=True)["mean"].mean().sort_values().index
        wide = wide[list(order)]
        figure = Figure(figsize=(1.6 + 1.0 * wide.shape[1], 1.0 + 0.5 * wide.shape[0]))
        axes = figure.subplots()
        values = wide.to_numpy(dtype=float)
        image = axes.imshow(values, cmap="cividis", aspect="auto")
        middle = (np.nanmin(values) + np.nanmax(values)) / 2
        for (i, j), value in np.ndenumerate(values):
            colour = "white" if value < middle else "black"
            axes.text(j, i, f"{value:.1f}", ha="center", va="center", color=colour)
        axes.set_xticks(range(wide.shape[1]), [str(level) for level in wide.columns])
        axes.set_yticks(range(wide.shape[0]), [str(level) for level in wide.index])
        axes.set_xlabel(term_name(columns))
        axes.set_ylabel(term_name(rows))
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        bar = figure.colorbar(image, ax=axes, shrink=0.9)
        bar.set_label(f"{metric} (%)")
        bar.outline.set_visible(False)
    return figure


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
