"""Figures for papers: as wide as a column, in the user's own style where the axes are theirs."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import results
from results.report.figures.curves import curve_figure, pushed_apart
from results.report.figures.forest import forest_figure
from results.report.figures.heat import heat_figure
from results.report.figures.profiles import profile_figure
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


def many(levels: int = 26) -> pd.DataFrame:
    """Means of so many criteria at three seeds, in points."""
    return pd.DataFrame([
        {"factor": "criterion", "level": f"criterion-{i}", "seed": seed, "mean": 40 + i + seed}
        for i in range(levels) for seed in range(3)
    ])  # fmt: skip


@pytest.mark.parametrize("width", [None, SLIM])
def test_many_levels_stand_one_below_the_other(width: float | None) -> None:
    """The names of 26 were side by side: the figure was 27 inches wide, and shown at 7."""
    figure = seed_figure(many(), "PGD-20 accuracy", width=width)
    figure.draw_without_rendering()
    assert figure.get_figwidth() <= WIDE
    names = [one.get_window_extent() for one in figure.axes[0].get_yticklabels()]
    assert len(names) == 26
    assert not any(a.overlaps(b) for a, b in itertools.pairwise(names))


def test_names_at_the_ends_of_lines_are_within_their_panel() -> None:
    table = many().rename(columns={"level": "criterion"}).query("seed == 0")
    table = table.assign(sparsity=0.5, low=table["mean"], high=table["mean"])
    figure = curve_figure({"criterion": table.assign(mean=60.0)}, "PGD-20 accuracy")
    figure.draw_without_rendering()
    panel = figure.axes[0].get_window_extent()
    names = [one.get_window_extent() for one in figure.axes[0].texts]
    assert len(names) == 26
    assert all(panel.y0 - 5 <= name.y0 and name.y1 <= panel.y1 + 8 for name in names)
    assert not any(a.y0 < b.y1 - 1 and b.y0 < a.y1 - 1 for a, b in itertools.pairwise(names))


def test_what_is_pushed_apart_moves_no_further_than_it_must() -> None:
    assert pushed_apart([0.0, 5.0, 9.0], 1.0, 10.0) == [0.0, 5.0, 9.0]
    assert pushed_apart([3.0, 3.0, 3.5], 1.0, 10.0) == [3.0, 4.0, 5.0]
    assert pushed_apart([9.0, 9.5, 9.9], 1.0, 10.0) == [8.0, 9.0, 10.0]


def test_of_many_profiles_the_highest_and_the_lowest_are_named() -> None:
    profiles = pd.DataFrame([
        {"criterion": f"criterion-{i:02}", "accuracy": accuracy, "share": share,
         "low": share, "high": share}
        for i in range(26) for accuracy, share in ((10.0, 1.0), (50.0, i / 26))
    ])  # fmt: skip
    figure = profile_figure(profiles, "PGD-20 accuracy")
    named = [one.get_text() for one in figure.axes[0].get_legend().get_texts()]
    ends = [*range(4), *range(22, 26)]
    assert named == ["18 between them", *(f"criterion-{i:02}" for i in ends)]


def test_a_cell_without_trials_is_left_blank_and_small_ones_are_rounded() -> None:
    means = pd.DataFrame([
        {"objective": "pgd", "lr": 0.01, "mean": 31.4},
        {"objective": "pgd", "lr": 0.1, "mean": 52.6},
        {"objective": "trades", "lr": 0.1, "mean": 48.2},
    ])  # fmt: skip
    drawn = heat_figure(means, "objective", "lr", "PGD-20 accuracy")
    assert [one.get_text() for one in drawn.axes[0].texts] == ["31.4", "52.6", "48.2"]
    wide = pd.DataFrame({"a": "x", "b": [f"level-{i}" for i in range(8)], "mean": 31.4})
    small = heat_figure(wide, "a", "b", "PGD-20 accuracy", width=SLIM)
    assert {one.get_text() for one in small.axes[0].texts} == {"31"}
    assert {one.get_rotation() for one in small.axes[0].get_xticklabels()} == {90}


def test_an_svg_does_not_hang_on_a_layout_s_last_digits() -> None:
    """The engine solves in an order of addresses; pages of one input were two, now and then."""
    drawn = []
    for moved in (0.0, 1e-13):
        figure = DRAWN["curves"]()
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for axes in figure.axes:
            axes.set_position(np.array(axes.get_position().bounds) + moved)
        drawn.append(render(figure, ("svg",))["svg"])
    assert b"clip0" in drawn[0]
    assert drawn[0] == drawn[1]


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
