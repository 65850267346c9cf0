"""What "matters more" can mean: measures against explicit sums and on known truths."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import results
from results.statistics.design.design import Design
from results.statistics.shares.compute import finetuning_compute, matched
from results.statistics.shares.decomposition import measured_terms
from results.statistics.shares.random_effects import as_a_sample

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
    assert "criterion matters more by Shapley shares" in verdict.robustness


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


def test_levels_as_a_sample_are_variance_components() -> None:
    """Against the expected mean squares of an analysis of variance, of values without noise."""
    trials = sweep(noise=0)
    found = results.estimands(trials, METRIC).set_index("estimand").loc["levels as a sample"]
    cells = 100 * trials[trials["seed"] == 0].groupby(["criterion", "finetuning"])[METRIC].mean()
    wide = cells.unstack()
    grand, rows, columns = wide.to_numpy().mean(), wide.mean(axis=1), wide.mean(axis=0)
    left = wide.sub(rows, axis=0).sub(columns, axis=1).to_numpy() + grand
    mixed = (left**2).sum() / 4
    assert found["criterion"] ** 2 == pytest.approx(rows.var(ddof=1) - mixed / 3)
    assert found["finetuning"] ** 2 == pytest.approx(columns.var(ddof=1) - mixed / 3)
    assert found["low"] < 0 < found["difference"] < found["high"]  # three levels say little


def test_a_sample_of_levels_covers_what_all_levels_are() -> None:
    rng, hits = np.random.default_rng(0), 0
    for _ in range(150):
        values = rng.normal(0, 0.06, (4, 1, 1)) + rng.normal(0, 0.06, (1, 5, 1))
        values = values + rng.normal(0, 0.03, (4, 5, 1)) + rng.normal(0, 0.02, (4, 5, 3))
        levels = tuple(range(4)), tuple(range(5))
        design = Design(("criterion", "finetuning"), levels, (0, 1, 2), values, ())
        *_, gap = as_a_sample(measured_terms(design), design, ("finetuning", "criterion"))
        hits += gap.low <= 0 <= gap.high
    assert 0.9 <= hits / 150 <= 1


def test_fine_tunings_of_equal_compute_are_compared_alone() -> None:
    trials = simulated(seeds=3).trials
    steps = trials["finetuning"].map({"none": None, "standard": 0, "pgd": 7})
    spent = trials.assign(attack_steps=steps)
    cost = finetuning_compute(spent).groupby(spent["finetuning"]).mean()
    assert cost["pgd"] == pytest.approx(8 * cost["standard"])
    assert matched(spent) == []
    assert matched(spent.assign(epochs=steps.map({7: 3, 0: 24}).fillna(0))) == ["pgd", "standard"]
    named = results.estimands(trials, METRIC).set_index("estimand")
    wanted = results.verdict(trials[trials["finetuning"] != "none"], METRIC)
    row = named.loc["main effects at equal compute"]
    assert row["difference"] == pytest.approx(wanted.difference)
    assert (row["low"], row["high"]) == pytest.approx((wanted.low, wanted.high))


def test_the_best_of_some_tries_is_that_of_all_draws() -> None:
    """Against every sequence of draws: the two seeds of a cell choose and judge in turn."""
    trials = sweep(seeds=2, noise=0.05).query("architecture == 'vgg8' and sparsity == 0.5")
    found = results.expected_best(trials, METRIC, tries=[1, 3]).set_index(["criterion", "tries"])
    for level, part in trials.groupby("criterion"):
        cells = 100 * part.pivot_table(index="finetuning", columns="seed", values=METRIC).to_numpy()
        for tries in (1, 3):
            best = [
                cells[max(draw, key=lambda i, s=seed: cells[i, 1 - s]), seed]
                for draw in itertools.product(range(3), repeat=tries)
                for seed in (0, 1)
            ]
            assert found.loc[(level, tries), "mean"] == pytest.approx(np.mean(best))
    curve = results.expected_best(simulated(seeds=4).trials, METRIC, by="finetuning")
    assert (curve.groupby("finetuning")["mean"].diff().dropna() > 0).all()
