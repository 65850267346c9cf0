"""Checks against false robustness: what the stronger attack leaves, against the weaker."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from results.report.figures.style import BLUE, FAINT, INK, VERMILION, styled


def check_figure(checks: pd.DataFrame) -> Figure:
    """Draw each check's mean accuracies under both attacks, and how many networks failed it.

    ``checks``: ``check``, ``stronger``, ``weaker``, ``stronger_accuracy``, ``weaker_accuracy``
    (shares), ``networks``, ``failed``.
    """
    with styled():
        figure = Figure(figsize=(6.8, 1.0 + 0.42 * len(checks)))
        axes = figure.subplots()
        rows = list(reversed(checks.to_dict("records")))
        for y, row in enumerate(rows):
            strong, weak = (100 * float(row[f"{kind}_accuracy"]) for kind in ("stronger", "weaker"))
            axes.plot([strong, weak], [y, y], color=FAINT, lw=2, zorder=0)
            axes.plot(strong, y, "o", color=BLUE, ms=6)
            axes.plot(weak, y, "o", color=BLUE, mfc="none", ms=6, mew=1.4)
            failed = int(row["failed"])
            axes.annotate(
                f"{failed} of {int(row['networks'])} failed", (1, y), (4, -3), fontsize=8,
                xycoords=("axes fraction", "data"), textcoords="offset points",
                color=VERMILION if failed else INK, annotation_clip=False,
            )  # fmt: skip
        names = [f"{row['check']}: {row['stronger']} against {row['weaker']}" for row in rows]
        axes.set_yticks(range(len(rows)), names)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
        axes.set_xlabel("images right (%): full under the stronger attack, open under the weaker")
    return figure
