"""Figures: each takes a tidy table and draws it; none computes a statistic."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.style import BLACK, GREY, LEVEL_COLOURS, LEVEL_MARKERS, STYLE, term_colour, term_name


def render(figure: Figure) -> dict[str, bytes]:
    """Return a figure as SVG, PDF and PNG, without a date: the same input gives the same bytes."""
    metadata = {
        "svg": {"Date": None},
        "pdf": {"CreationDate": None},
        "png": {"Software": None},
    }
    found = {}
    with mpl.rc_context(STYLE):
        for kind, facts in metadata.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=facts, bbox_inches="tight")
            found[kind] = buffer.getvalue()
    return found


def share_figure(shares: pd.DataFrame) -> Figure:
    """Draw the share of variance by term, before and after fine-tuning.

    ``shares``: ``term``, ``stage`` (pruned or finetuned), ``share``, ``low``, ``high``.
    """
    with mpl.rc_context(STYLE):
        order = list(dict.fromkeys(shares["term"]))
        figure = Figure(figsize=(6.6, 0.9 + 0.42 * len(order)))
        axes = figure.subplots()
        _shares(axes, shares, order)
    return figure


def _shares(axes: Axes, shares: pd.DataFrame, order: Sequence[str]) -> None:
    for row in shares.itertuples():
        after = row.stage == "finetuned"
        y = len(order) - 1 - order.index(row.term) + (0.14 if after else -0.14)
        colour = term_colour(row.term)
        if np.isfinite(row.low):
            axes.plot([100 * row.low, 100 * row.high], [y, y], color=colour, lw=1.2, alpha=0.8)
        face = colour if after else "white"
        axes.plot(100 * row.share, y, "o", color=colour, mfc=face, ms=6, mew=1.4)
        if after:
            edge = 100 * max(row.share, row.high if np.isfinite(row.high) else row.share)
            axes.annotate(
                f"{100 * row.share:.0f} %", (edge, y), (5, -3), textcoords="offset points",
                fontsize=8, color=colour,
            )  # fmt: skip
    axes.axvline(0, color="#BBBBBB", lw=0.8, zorder=0)
    axes.set_yticks(range(len(order)), [term_name(term) for term in reversed(order)])
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.set_xlabel("share of the variance between cells (%), with 95 % interval over seeds")
    axes.plot([], [], "o", color=BLACK, mfc="white", mew=1.4, label="before fine-tuning")
    axes.plot([], [], "o", color=BLACK, label="after fine-tuning")
    axes.legend(frameon=False, loc="lower right", fontsize=8)


def curve_figure(panels: dict[str, pd.DataFrame], metric: str) -> Figure:
    """Draw accuracy against sparsity, a panel a factor, a line a level, with bands.

    Each table: the factor's column, ``sparsity``, ``mean``, ``low``, ``high`` in accuracy points.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.7 * len(panels) + 0.6, 3.4))
        all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (factor, table) in zip(all_axes, panels.items(), strict=True):
            _curves(axes, factor, table)
            axes.set_title(f"by {term_name(factor)}")
            axes.set_xlabel("share removed (%)")
        all_axes[0].set_ylabel(f"{metric} (%)")
        figure.subplots_adjust(wspace=0.35)
    return figure


def _curves(axes: Axes, factor: str, table: pd.DataFrame) -> None:
    ends = []
    for index, (level, line) in enumerate(table.groupby(factor, sort=True)):
        colour = LEVEL_COLOURS[index % len(LEVEL_COLOURS)]
        x = 100 * line["sparsity"].to_numpy(dtype=float)
        axes.fill_between(x, line["low"], line["high"], color=colour, alpha=0.13, lw=0)
        marker = LEVEL_MARKERS[index % len(LEVEL_MARKERS)]
        axes.plot(x, line["mean"], color=colour, marker=marker, ms=4.5)
        ends.append((float(line["mean"].iloc[-1]), str(level), colour, float(x[-1])))
    low, high = axes.get_ylim()
    last = float("-inf")
    for value, level, colour, x_end in sorted(ends):  # labels are pushed apart, never overlaid
        last = max(value, last + 0.055 * (high - low))
        axes.text(x_end, last, f"   {level}", va="center", color=colour, fontsize=8.5)
    axes.set_xticks(sorted(100 * table["sparsity"].unique()))
    axes.margins(x=0.08)


def heat_figure(means: pd.DataFrame, rows: str, columns: str, metric: str) -> Figure:
    """Draw the mean of a metric for every pair of levels, in accuracy points."""
    with mpl.rc_context(STYLE):
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
    """Draw MRS by module and, below, the share of channels removed by each allocation.

    ``modules``: ``architecture``, ``module``, ``position``, ``allocation``, ``sparsity``, ``mrs``
    with ``mrs_low`` and ``mrs_high``, ``ratio`` with ``ratio_low`` and ``ratio_high``.
    """
    with mpl.rc_context(STYLE):
        architectures = list(modules["architecture"].unique())
        figure = Figure(figsize=(4.1 * len(architectures) + 0.5, 5.2))
        grid = figure.subplots(2, len(architectures), squeeze=False, sharex="col")
        for column, architecture in enumerate(architectures):
            table = modules[modules["architecture"] == architecture]
            grid[0][column].set_title(str(architecture))
            _mrs(grid[0][column], table)
            _ratios(grid[1][column], table)
        grid[0][0].set_ylabel("MRS (nats of adversarial loss)")
        grid[1][0].set_ylabel("channels removed (%)")
        figure.subplots_adjust(hspace=0.12, wspace=0.25)
    return figure


def _mrs(axes: Axes, table: pd.DataFrame) -> None:
    found = table.dropna(subset=["mrs"]).drop_duplicates("position").sort_values("position")
    errors = np.abs(np.stack([found["mrs"] - found["mrs_low"], found["mrs_high"] - found["mrs"]]))
    axes.bar(found["position"], found["mrs"], color="#BFD7E6", width=0.7)
    axes.errorbar(
        found["position"], found["mrs"], errors, fmt="none", ecolor=BLACK, elinewidth=1, capsize=2
    )


def _ratios(axes: Axes, table: pd.DataFrame) -> None:
    lines = table.groupby(["allocation", "sparsity"], sort=True)
    allocations = sorted(table["allocation"].unique())
    sparsities = sorted(table["sparsity"].unique())
    for (allocation, sparsity), line in lines:
        line = line.sort_values("position")
        index = allocations.index(allocation)
        colour = LEVEL_COLOURS[index] if allocation != "uniform" else GREY
        style = ("-", "--", ":", "-.")[sparsities.index(sparsity) % 4]
        axes.plot(
            line["position"], 100 * line["ratio"], style, color=colour,
            marker=LEVEL_MARKERS[index], ms=3.5, label=f"{allocation}, {sparsity:.0%}",
        )  # fmt: skip
        axes.fill_between(
            line["position"], 100 * line["ratio_low"], 100 * line["ratio_high"],
            color=colour, alpha=0.13, lw=0,
        )  # fmt: skip
    names = table.drop_duplicates("position").sort_values("position")
    labels = [str(name).removeprefix("network.") for name in names["module"]]
    axes.set_xticks(names["position"], labels, rotation=55, ha="right", fontsize=7)
    axes.legend(frameon=False, fontsize=7.5, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.45))
