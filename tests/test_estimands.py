"""What "matters more" can mean: measures against explicit sums and on known truths."""

from __future__ import annotations

import numpy as np
import pytest

import results

from simulated import simulated
from test_analysis import sweep

METRIC = "finetuned_pgd_20"


def test_shapley_shares_split_interactions_and_sum_to_one() -> None:
    trials = sweep(noise=0.02)
    found = results.shapley_shares(trials, METRIC).set_index("factor")
    table = results.decompose(trials, METRIC)
    table = table[table["order"] > 0].set_index("term")
    for factor in found.index:
        mine = [term for term in table.index if factor in term.split(":")]
        wanted = sum(table.loc[term, "share"] / table.loc[term, "order"] for term in mine)
        assert found.loc[factor, "share"] == pytest.approx(wanted)
        assert found.loc[factor, "low"] <= wanted <= found.loc[factor, "high"]
    assert found["share"].sum() == pytest.approx(1)


def test_measures_may_disagree() -> None:
    """The criterion acts through its interaction alone: by Shapley shares it matters more."""
    trials = sweep(noise=0.003, finetuning=0.5)
    turn = trials["criterion"].map({"l1": 1.0, "lamp": 0.0, "random": -1.0})
    trials[METRIC] += 0.2 * turn * np.where(trials["sparsity"] == 0.5, 1, -1)
    found = results.estimands(trials, METRIC).set_index("estimand")
    assert found.loc["main effects", "winner"] == "finetuning"
    assert found.loc["Shapley shares", "winner"] == "criterion"
    assert found.loc["left to chance", "winner"] == "finetuning"
    verdict = results.verdict(trials, METRIC)
    assert found.loc["main effects", "difference"] == pytest.approx(verdict.difference)
    assert "by Shapley shares, criterion matters more" in verdict.robustness


def test_points_lost_are_those_of_the_levels() -> None:
    found = results.estimands(sweep(noise=0), METRIC).set_index("estimand")
    means = 100 * sweep(noise=0).groupby("finetuning")[METRIC].mean()
    assert found.loc["left to chance", "finetuning"] == pytest.approx(means.max() - means.mean())
    assert found.loc["worst choice", "finetuning"] == pytest.approx(means.max() - means.min())


def test_the_order_before_fine_tuning_may_say_nothing_of_that_after() -> None:
    trials = simulated(seeds=4).trials
    same = results.before_and_after(trials, METRIC).set_index("finetuning")
    assert list(same.index) == ["pgd", "standard"]
    turned = trials.assign(pruned_pgd_20=1 - trials[METRIC])
    found = results.before_and_after(turned, METRIC)
    assert (found["tau"] == -1).all()
    assert (found["low"] == -1).all()
