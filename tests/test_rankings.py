"""Average ranks, performance profiles, units kept: against slow independent answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import results
from results.errors import AnalysisError
from results.statistics.levels.average_ranks import range_quantile

from simulated import simulated

METRIC = "finetuned_pgd_20"


@pytest.fixture(scope="module")
def trials() -> pd.DataFrame:
    return simulated(seeds=4).trials


def test_average_ranks_are_those_of_friedmans_test(trials: pd.DataFrame) -> None:
    one = trials.query("architecture == 'vgg8' and sparsity == 0.8 and allocation == 'mrs'")
    one = one[one["finetuning"] == "pgd"]
    found = results.average_ranks(one, METRIC)
    wide = one.pivot_table(index="seed", columns="criterion", values=METRIC)
    ranks = wide.rank(axis=1, ascending=False).mean()
    assert found.set_index("criterion")["rank"].to_dict() == pytest.approx(ranks.to_dict())
    assert found["rank"].is_monotonic_increasing
    friedman = stats.friedmanchisquare(*(wide[name] for name in wide))
    assert found["p"].iloc[0] == pytest.approx(friedman.pvalue)
    # Demsar's table 5: 2.343 for three classifiers at 0.05.
    assert found["apart"].iloc[0] == pytest.approx(2.343 * np.sqrt(3 * 4 / (6 * 4)), abs=1e-3)


@pytest.mark.parametrize(("confidence", "count"), [(0.95, 2), (0.99, 7), (0.9, 60)])
def test_the_range_of_normal_numbers_is_scipys(confidence: float, count: int) -> None:
    wanted = stats.studentized_range.ppf(confidence, count, np.inf)
    assert range_quantile(confidence, count) == pytest.approx(wanted, rel=1e-8)


def test_cells_of_a_seed_are_no_repetitions(trials: pd.DataFrame) -> None:
    """The critical difference is that of four seeds, however many cells each has."""
    cells = ["architecture", "sparsity", "allocation", "finetuning", "seed"]
    ranks = trials.assign(rank=trials.groupby(cells)[METRIC].rank(ascending=False))
    found = results.average_ranks(trials, METRIC).set_index("criterion")
    assert found["rank"].to_dict() == pytest.approx(
        ranks.groupby("criterion")["rank"].mean().to_dict()
    )
    assert found["apart"].iloc[0] == pytest.approx(2.343 * np.sqrt(3 * 4 / (6 * 4)), abs=1e-3)
    with pytest.raises(AnalysisError, match="three levels of allocation and two seeds"):
        results.average_ranks(trials, METRIC, "allocation")


def test_profiles_are_shares_of_trials_that_reach_an_accuracy(trials: pd.DataFrame) -> None:
    found = results.performance_profile(trials, METRIC)
    for level, profile in found.groupby("criterion"):
        values = 100 * trials.loc[trials["criterion"] == level, METRIC].to_numpy()
        wanted = [np.mean(values >= accuracy - 1e-9) for accuracy in profile["accuracy"]]
        np.testing.assert_allclose(profile["share"], wanted, atol=0.03)
        assert profile["share"].is_monotonic_decreasing
        assert (profile["low"] <= profile["share"]).all()
        assert (profile["high"] >= profile["share"]).all()


def test_units_agree_by_their_intersection_over_union(trials: pd.DataFrame) -> None:
    tables = simulated(seeds=2)
    found = results.unit_agreement(tables.trials, tables.modules)
    row = found.query(
        "architecture == 'vgg8' and sparsity == 0.8 and module == 'conv1' and first == 'l1'"
        " and second == 'random'"
    ).squeeze()
    kept = tables.modules.set_index(["network", "module"])["kept"]
    agreed = []
    for seed in (0, 1):
        for allocation in ("mrs", "uniform"):
            one, two = (
                {i for i, bit in enumerate("".join(f"{byte:08b}" for byte in kept[
                    f"p-vgg8-{name}-0.8-{allocation}-{seed}", "conv1"])) if bit == "1"}
                for name in ("l1", "random")
            )  # fmt: skip
            agreed.append(len(one & two) / len(one | two))
    assert row["iou"] == pytest.approx(np.mean(agreed))
    assert row["seeds"] == 2
    # Units that were drawn at random agree as often as chance has it.
    assert found["iou"].mean() == pytest.approx(found["by_chance"].mean(), abs=0.02)
    with pytest.raises(AnalysisError, match="which units were kept"):
        results.unit_agreement(tables.trials, tables.modules.drop(columns="kept"))


def test_units_of_two_seeds_are_compared_where_they_share_a_dense_network() -> None:
    tables = simulated(seeds=2)
    with pytest.raises(AnalysisError, match="a dense network of its own"):
        results.unit_agreement(tables.trials, tables.modules, of="seed")
    shared = tables.trials.assign(checkpoint="one file")
    found = results.unit_agreement(shared, tables.modules, of="seed")
    assert found[["first", "second"]].drop_duplicates().to_numpy().tolist() == [[0, 1]]
    assert found["iou"].mean() == pytest.approx(found["by_chance"].mean(), abs=0.02)
    same = results.unit_agreement(shared, tables.modules.assign(kept=b"\xf0\x00"), of="seed")
    assert (same["iou"] == 1).all()
