"""Figures for papers: as wide as a column, in the user's own style where the axes are theirs."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.figure import Figure

import results
from results.report.figures.curves import curve_figure
from results.report.figures.forest import forest_figure
from results.report.figures.heat import heat_figure
from results.report.figures.render import render
from results.report.figures.seeds import seed_figure
from results.report.figures.shares import share_figure
from results.report.figures.style import COLUMN, SLIM, WIDE, outer, panelled
from results.report.findings.size import once

from simulated import simulated

METRIC = "finetuned_pgd_20"
TRIALS = simulated(seeds=3).trials


def shares() -> pd.DataFrame:
    return results.decompose(TRIALS, METRIC).query("order == 1").assign(stage="finetuned")


def by_seed() -> pd.DataFrame:
    means = 100 * TRIALS.groupby(["finetuning", "seed"])[METRIC].mean()
    table = means.rename("mean").reset_index().rename(columns={"finetuning": "level"})
    return table.assign(factor="finetuning")


DRAWN: dict[str, Callable[[], Figure]] = {
    "shares": lambda: share_figure(shares(), width=COLUMN),
    "forest": lambda: forest_figure(
        results.level_effects(TRIALS, METRIC), "effect", "accuracy points", width=COLUMN
    ),
    "heat": lambda: heat_figure(
        results.level_means(TRIALS, METRIC, ["criterion", "finetuning"]),
        "criterion", "finetuning", "PGD-20 accuracy", width=COLUMN,
    ),
    "curves": lambda: curve_figure(
        {"criterion": results.curves(TRIALS, METRIC)}, "PGD-20 accuracy", width=COLUMN
    ),
    "seeds": lambda: seed_figure(by_seed(), "PGD-20 accuracy", width=COLUMN),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_all_of_a_figure_lies_within_a_column(name: str) -> None:
    figure = DRAWN[name]()
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    assert figure.get_figwidth() == COLUMN
    assert box.x0 >= 0
    assert box.x1 <= COLUMN


@pytest.mark.parametrize("width", [SLIM, None])
def test_a_figure_is_drawn_once_for_each_file(
    width: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = share_figure(shares(), width=width)
    draw, drawn = Figure.draw, []
    monkeypatch.setattr(Figure, "draw", lambda *given: (drawn.append(1), draw(*given)))
    with mpl.rc_context({"figure.constrained_layout.use": True}):  # the user's, which is not ours
        files = render(figure, ("svg", "png"))
    assert list(files) == ["svg", "png"]
    assert len(drawn) == 2


def test_panels_are_stacked_where_it_is_narrow() -> None:
    for width, columns in ((SLIM, 1), (WIDE, 2)):
        _, axes = panelled(2, width, 2.0)
        assert len(axes) == 2
        assert len(outer(axes)) == 3 - columns


def test_a_factor_of_two_levels_is_drawn_once() -> None:
    effects = results.level_effects(TRIALS, METRIC)
    counts = once(effects).groupby("factor")["level"].agg(["count", "first"])
    assert counts.loc["sparsity", "count"] == 1
    assert ", not " in counts.loc["sparsity", "first"]
    assert counts.loc["criterion", "count"] == 3


def test_the_users_axes_have_the_users_style() -> None:
    with mpl.rc_context({"font.size": 17.0, "axes.labelsize": "medium"}):
        mine = Figure(figsize=(5, 4))
        one, other = mine.subplots(1, 2)
        assert share_figure(shares(), ax=one) is mine
        assert one.xaxis.label.get_size() == 17
        assert not other.has_data()
    own = share_figure(shares()).axes[0]
    assert own.xaxis.label.get_size() == 9
