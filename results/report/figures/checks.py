"""Checks against false robustness: what the stronger attack leaves, against the weaker."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.report.figures.style import (
    BLUE,
    FAINT,
    INK,
    VERMILION,
    canvas,
    figure_of,
    fitted,
)


def check_figure(
    checks: pd.DataFrame, ax: Axes | None = None, width: float | None = None
) -> Figure:
    """Draw each check's mean accuracies under both attacks, and how many networks failed it.

    ``checks``: ``check``, ``stronger``, ``weaker``, ``stronger_accuracy``, ``weaker_accuracy``
    (shares), ``networks``, ``failed``.
    """
    with canvas(ax, width, 1.0 + 0.42 * len(checks)) as axes:
        rows = list(reversed(checks.to_dict("records")))
        for y, row in enumerate(rows):
            strong, weak = (100 * float(row[f"{kind}_accuracy"]) for kind in ("stronger", "weaker"))
            axes.plot([strong, weak], [y, y], color=FAINT, lw=2, zorder=0)
            axes.plot(strong, y, "o", color=BLUE, ms=6)
            axes.plot(weak, y, "o", color=BLUE, mfc="none", ms=6, mew=1.4)
            failed = int(row["failed"])
            axes.annotate(
                f"{failed} of {int(row['networks'])} failed", (1, y), (4, -3), fontsize="small",
                xycoords=("axes fraction", "data"), textcoords="offset points",
                color=VERMILION if failed else INK, annotation_clip=False,
            )  # fmt: skip
        names = [
            fitted(f"{row['check']}: {row['stronger']} against {row['weaker']}", axes, 0.4)
            for row in rows
        ]
        axes.set_yticks(range(len(rows)), names)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
        label = "images right (%): full under the stronger attack, open under the weaker"
        axes.set_xlabel(fitted(label, axes, 0.72))
    return figure_of(axes)
