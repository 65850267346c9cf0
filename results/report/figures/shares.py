"""The share of variance by term, before and after fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.report.figures.style import BLACK, canvas, figure_of, fitted, term_colour
from results.statistics.design.words import percent, term_name

SHARE_LIMITS = (-20.0, 112.0)
"""Shares are drawn within these percentages; an interval that leaves them ends in an arrow."""
MARGIN = 4.0
"""Left of zero, where nothing lies further to the left."""


def share_figure(
    shares: pd.DataFrame, ax: Axes | None = None, width: float | None = None
) -> Figure:
    """Draw the share of variance by term, before and after fine-tuning.

    ``shares``: ``term``, ``stage`` (pruned or finetuned), ``share``, ``low``, ``high``.
    """
    order = list(dict.fromkeys(shares["term"]))
    with canvas(ax, width, 1.1 + 0.42 * len(order)) as axes:
        offset = 0.14 if shares["stage"].nunique() > 1 else 0.0
        for row in shares.to_dict("records"):
            after = bool(row["stage"] == "finetuned")
            y = len(order) - 1 - order.index(row["term"]) + (offset if after else -offset)
            values = [100 * float(row[name]) for name in ("share", "low", "high")]
            _share(axes, y, values, term_colour(str(row["term"])), after)
        axes.axvline(0, color="#BBBBBB", lw=0.8, zorder=0)
        names = [fitted(term_name(term), axes, 0.3) for term in reversed(order)]
        axes.set_yticks(range(len(order)), names)
        axes.set_ylim(-0.6, len(order) - 0.4)
        least = 100 * float(np.nanmin(shares[["share", "low"]].to_numpy(dtype=float)))
        axes.set_xlim(max(SHARE_LIMITS[0], min(-MARGIN, least - MARGIN)), SHARE_LIMITS[1])
        label = "share of the variance between cells (%), with 95 % interval over seeds"
        axes.set_xlabel(fitted(label, axes, 0.72))
        if shares["stage"].nunique() > 1:
            axes.plot([], [], "o", color=BLACK, mfc="white", mew=1.4, label="before fine-tuning")
            axes.plot([], [], "o", color=BLACK, label="after fine-tuning")
            axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2,
                        fontsize="small", columnspacing=1, handletextpad=0.3)  # fmt: skip
    return figure_of(axes)


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
            fontsize="small", color=colour,
        )  # fmt: skip
