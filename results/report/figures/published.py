"""Published robust accuracies, and ours beside them."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from results.report.figures.style import BLACK, FAINT, INK, NARROW, outer, panelled, styled
from results.report.published import BESIDE


def published_figure(rows: pd.DataFrame, width: float | None = None) -> Figure:
    """Draw published figures as grey points and ours with its deviation; a panel a network."""
    panels = list(rows.groupby([name for name in BESIDE if name != "sparsity"]))
    width = width or 3.2 * len(panels) + 0.8
    with styled(width):
        figure, grid = panelled(len(panels), width, 3.2 if width >= NARROW else 2.2)
        for axes, (names, part) in zip(grid, panels, strict=True):
            places = {share: place for place, share in enumerate(sorted(part["sparsity"].unique()))}
            at = part["sparsity"].map(places)
            axes.plot(at, 100 * part["autoattack"], "o", color=FAINT, ms=5, mew=0,
                      label="published, single runs")  # fmt: skip
            best = part.drop_duplicates("sparsity")
            axes.errorbar(
                best["sparsity"].map(places), 100 * best["ours_autoattack"],
                100 * best["ours_sd"].fillna(0), fmt="D", color=BLACK, ms=5, lw=1.2,
                label="our best method, mean and deviation over seeds",
            )  # fmt: skip
            axes.set_xticks(list(places.values()), [f"{100 * share:g} %" for share in places])
            axes.set_xlim(-0.5, len(places) - 0.5)
            axes.set_title(" ".join(map(str, names)))
            axes.set_xlabel("removed")
        for axes in outer(grid):
            axes.set_ylabel("AutoAttack accuracy (%)")
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, frameon=False, ncols=2 if width >= NARROW else 1,
                      labelcolor=INK, loc="outside upper center")  # fmt: skip
    return figure
