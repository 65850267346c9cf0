"""Security curves: accuracy over the radius of the threat, a line a fine-tuning."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from results.report.figures.style import FAINT, INK, LEVEL_COLOURS, NARROW, outer, panelled, styled


def security_figure(curves: pd.DataFrame, width: float | None = None) -> Figure:
    """Draw curves, a panel a data set and attack.

    Args:
        curves: ``dataset``, ``attack``, ``finetuning``, ``radius``, ``accuracy`` as a share, and
            ``eps``, the threat's own radius.
        width: in inches; None for the page.
    """
    panels = list(curves.groupby(["dataset", "attack"], sort=True))
    levels = sorted(map(str, curves["finetuning"].unique()))
    width = width or 3.7 * len(panels) + 0.6
    with styled(width):
        figure, grid = panelled(len(panels), width, 3.2 if width >= NARROW else 2.2)
        for axes, (names, panel) in zip(grid, panels, strict=True):
            for level, line in panel.groupby("finetuning", sort=True):
                index = levels.index(str(level))
                axes.plot(
                    line["radius"], 100 * line["accuracy"],
                    ("-", "--", ":", "-.")[index // len(LEVEL_COLOURS) % 4],
                    color=LEVEL_COLOURS[index % len(LEVEL_COLOURS)], label=str(level),
                )  # fmt: skip
            axes.axvline(float(panel["eps"].iloc[0]), color=FAINT, ls="--", lw=1)
            axes.set_title(", ".join(map(str, names)))
            axes.set_xlabel("radius")
            axes.set_ylim(0, 100)
        for axes in outer(grid):
            axes.set_ylabel("accuracy (%)")
        grid[-1].legend(frameon=False, fontsize="small", labelcolor=INK)
    return figure
