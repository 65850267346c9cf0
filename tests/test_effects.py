"""Effects in points, choices, ranks, pairs, images, fronts: against slow independent answers."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import results
from results.errors import AnalysisError
from results.statistics.levels.by_image import compare_outcomes
from results.statistics.levels.effects import cost_of_choice, level_effects
from results.statistics.levels.pairwise import compare_levels, holm
from results.statistics.levels.pareto import pareto_front
from results.statistics.levels.ranks import agreement, rank_agreement, rank_flow
from results.tables.load import Loaded

from simulated import EFFECTS, FACTORS, simulated

METRIC = "finetuned_pgd_20"


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return simulated(seeds=4)


@pytest.fixture(scope="module")
def trials(loaded: Loaded) -> pd.DataFrame:
    return loaded.trials


def exact(trials: pd.DataFrame) -> pd.DataFrame:
    """The same trials without noise or seeds' shifts."""
    value = 0.5 + sum(trials[name].map(lambda level: EFFECTS.get(level, 0.0)) for name in FACTORS)
    return trials.assign(**{METRIC: value})


def test_level_effects_are_deviations_of_the_seeds_means(trials: pd.DataFrame) -> None:
    found = level_effects(trials, METRIC).set_index(["factor", "level"])
    for factor in FACTORS:
        by_seed = 100 * trials.groupby([factor, "seed"])[METRIC].mean().unstack()
        by_seed -= by_seed.mean()
        for level, of_seeds in by_seed.iterrows():
            row = found.loc[(factor, str(level))]
            assert row["effect"] == pytest.approx(of_seeds.mean())
            low, high = stats.t.interval(0.95, 3, of_seeds.mean(), stats.sem(of_seeds))
            assert (row["low"], row["high"]) == pytest.approx((low, high))


def test_with_holes_level_effects_are_those_of_the_additive_model(trials: pd.DataFrame) -> None:
    """Cells that are missing leave the effects of an additive truth as they are."""
    gone = (trials["criterion"] == "random") & (trials["allocation"] == "mrs")
    whole, holed = (level_effects(exact(t), METRIC) for t in (trials, trials[~gone]))
    pd.testing.assert_frame_equal(whole, holed)


def test_the_cost_of_a_choice_is_judged_where_it_was_not_made(trials: pd.DataFrame) -> None:
    found = cost_of_choice(trials, METRIC).set_index("factor")
    assert (found.loc["finetuning", "best"], found.loc["finetuning", "worst"]) == ("pgd", "none")
    wide = 100 * trials.pivot_table(index="criterion", columns="seed", values=METRIC)
    costs = []
    for seed in wide:
        others = wide.drop(columns=seed).mean(axis=1)
        costs.append(wide.loc[others.idxmax(), seed] - wide.loc[others.idxmin(), seed])
    assert found.loc["criterion", "cost"] == pytest.approx(np.mean(costs))
    costs = []
    for _, cell in trials.groupby(["architecture", "sparsity", "allocation", "finetuning"]):
        wide = 100 * cell.pivot_table(index="criterion", columns="seed", values=METRIC)
        for seed in wide:
            others = wide.drop(columns=seed).mean(axis=1)
            costs.append(wide.loc[others.idxmax(), seed] - wide.loc[others.idxmin(), seed])
    assert found.loc["criterion", "cost_within"] == pytest.approx(np.mean(costs))


def test_choosing_among_equals_costs_nothing() -> None:
    """The best of several equal levels looks better than it is; judged elsewhere it does not."""
    rng = np.random.default_rng(0)
    costs = []
    for _ in range(60):
        rows = itertools.product("abcdef", "xy", range(3))
        trials = pd.DataFrame(rows, columns=["criterion", "finetuning", "seed"])
        trials = trials.assign(status="done", **{METRIC: rng.normal(0.5, 0.05, len(trials))})
        costs.append(cost_of_choice(trials, METRIC).set_index("factor").loc["criterion", "cost"])
    assert abs(np.mean(costs)) < 3 * np.std(costs) / np.sqrt(len(costs))


def test_rank_agreement_is_the_mean_of_kendalls_tau(trials: pd.DataFrame) -> None:
    found = rank_agreement(trials, METRIC).set_index("factor")
    assert list(found.index) == ["architecture", "sparsity", "allocation", "finetuning", "seed"]
    for factor in ("finetuning", "seed"):
        wide = trials.pivot_table(index="criterion", columns=factor, values=METRIC)
        taus = [
            stats.kendalltau(wide[a], wide[b]).statistic for a, b in itertools.combinations(wide, 2)
        ]
        assert found.loc[factor, "tau"] == pytest.approx(np.mean(taus))
        assert found.loc[factor, "pairs"] == len(taus)
    assert rank_agreement(exact(trials), METRIC)["tau"].tolist() == pytest.approx([1] * 5)


def test_agreement_with_ties_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        table = rng.integers(0, 4, (4, 3)).astype(float)
        taus = [
            stats.kendalltau(table[:, i], table[:, j]).statistic
            for i, j in itertools.combinations(range(3), 2)
        ]
        assert agreement(table[..., None]).value == np.nanmean(taus)


def test_every_table_says_its_units(loaded: Loaded) -> None:
    trials, missing = loaded.trials, set()
    tables = {
        "effects": results.level_effects(trials, METRIC),
        "costs": results.cost_of_choice(trials, METRIC),
        "pairs": results.compare_levels(trials, METRIC, "criterion"),
        "images": results.compare_outcomes(trials, loaded.evaluations, METRIC, "criterion"),
        "ranks": results.rank_agreement(trials, METRIC),
        "flow": results.rank_flow(trials, METRIC),
        "both": results.before_and_after(trials, METRIC),
        "front": results.pareto_front(trials, METRIC),
        "average": results.average_ranks(trials, METRIC),
        "profile": results.performance_profile(trials, METRIC),
        "tries": results.expected_best(trials, METRIC),
        "units": results.unit_agreement(trials, loaded.modules),
        "estimands": results.estimands(trials, METRIC),
        "shapley": results.shapley_shares(trials, METRIC),
    }
    for name, table in tables.items():
        units = table.attrs.get("units", {})
        numbers = table.select_dtypes("float").columns.drop(["sparsity", "front"], errors="ignore")
        missing |= {f"{name}: {column}" for column in numbers if column not in units}
    assert not missing - {"front: params", "front: macs"}, missing


def test_ranks_of_one_seed_with_cells_missing_need_no_warning(trials: pd.DataFrame) -> None:
    one = trials[trials["seed"] == 0]
    holed = one[(one["criterion"] != "random") | (one["allocation"] != "mrs")]
    found = rank_agreement(holed, METRIC).set_index("factor")
    assert np.isnan(found.loc["allocation", "tau"])
    assert found.loc["sparsity", "tau"] == pytest.approx(1)
    assert len(rank_agreement(one.sample(frac=0.5, random_state=0), METRIC))


def test_rank_flow_leaves_out_what_does_nothing(trials: pd.DataFrame) -> None:
    found = rank_flow(trials, METRIC)
    assert list(dict.fromkeys(found["step"])) == ["before", "pgd", "standard"]
    first = found[found["step"] == "before"].set_index("criterion")["rank"]
    assert first.to_dict() == {"l1": 1, "lamp": 2, "random": 3}


def test_pairs_are_tested_over_seeds_and_corrected(trials: pd.DataFrame) -> None:
    found = compare_levels(trials, METRIC, "criterion").set_index(["first", "second"])
    wide = 100 * trials.groupby(["criterion", "seed"])[METRIC].mean().unstack()
    raw, raw_intervals = {}, {}
    for a, b in itertools.combinations(wide.index, 2):
        test = stats.ttest_rel(wide.loc[a], wide.loc[b])
        raw[a, b] = test.pvalue
        raw_intervals[a, b] = test
    ordered = sorted(raw, key=lambda pair: raw[pair])
    step, parts = 0, 3  # an interval reaches as far as Holm's method asks at its step
    for a, b in ordered:
        parts = 3 - step
        low, high = raw_intervals[a, b].confidence_interval(1 - 0.05 / parts)
        assert tuple(found.loc[(a, b), ["mean", "low", "high"]]) == pytest.approx(
            (wide.loc[a].mean() - wide.loc[b].mean(), low, high)
        )
        step += raw[a, b] < 0.05 / parts and step + parts == 3
    holm = np.maximum.accumulate([min(1, (3 - i) * raw[pair]) for i, pair in enumerate(ordered)])
    for pair, p in zip(ordered, holm, strict=True):
        assert found.loc[pair, "p"] == pytest.approx(p)


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_holms_method_is_that_of_statsmodels(count: int) -> None:
    from statsmodels.stats.multitest import multipletests

    p = np.random.default_rng(count).uniform(0, 0.2, count).round(2)  # with ties, and over 1 after
    assert holm(p).tolist() == multipletests(p, method="holm")[1].tolist()


def test_alike_levels_are_found_equivalent_and_others_different() -> None:
    rng = np.random.default_rng(2)
    trials = simulated(seeds=8).trials
    value = trials["criterion"].map({"l1": 0.5, "lamp": 0.5001, "random": 0.48})
    value += trials["finetuning"].map(EFFECTS) + rng.normal(0, 0.001, len(trials))
    found = compare_levels(trials.assign(**{METRIC: value}), METRIC).set_index(["first", "second"])
    assert found["finding"].tolist() == ["equivalent", "different", "different"]
    assert found.loc[("l1", "lamp"), "p_equal"] < 0.001


def test_images_are_compared_as_the_trials_are(loaded: Loaded) -> None:
    trials = loaded.trials
    found = compare_outcomes(trials, loaded.evaluations, METRIC, "criterion")
    pairs = compare_levels(trials, METRIC, "criterion")
    np.testing.assert_allclose(found["mean"], pairs["mean"])
    assert (found["images"] == 200).all()
    assert (found["cells"] == 24).all()
    # Slowly: every image, network by network.
    packed = loaded.evaluations.query("attack == 'pgd-20'").set_index("network")["outcomes"]
    bits = {n: np.unpackbits(np.frombuffer(o, np.uint8), count=200) for n, o in packed.items()}
    keys = ["architecture", "sparsity", "allocation", "finetuning", "seed"]
    wide = trials.pivot(index=keys, columns="criterion", values="finetuned_network")
    gap = np.stack([
        100 * np.mean([bits[a].astype(float) - bits[b] for a, b in
                       wide.xs(seed, level="seed")[["l1", "lamp"]].to_numpy()], axis=0)
        for seed in range(4)
    ])  # fmt: skip
    by_seed, by_image = gap.mean(1).var(ddof=1) / 4, gap.mean(0).var(ddof=1) / 200
    error = np.sqrt(max(by_seed + by_image - gap.var(ddof=1) / gap.size, by_seed, by_image))
    reach = found.loc[0, "high"] - found.loc[0, "mean"]
    steps = [error * stats.t.ppf(1 - 0.025 / parts, 3) for parts in (3, 2, 1)]  # Holm's
    assert min(abs(reach - step) for step in steps) < 1e-9
    differ = [np.mean(bits[a] != bits[b]) for a, b in wide[["l1", "lamp"]].to_numpy()]
    assert found.loc[0, "disagree"] == pytest.approx(np.mean(differ))


def test_the_worst_case_by_image_is_right_under_all(loaded: Loaded) -> None:
    bound = loaded.evaluations.assign(norm="linf")
    packed = bound.pivot(index="network", columns="attack", values="outcomes")
    both = {
        n: np.frombuffer(a, np.uint8) & np.frombuffer(b, np.uint8)
        for n, a, b in packed.itertuples()
    }
    worst = loaded.trials["finetuned_network"].map(
        {n: np.unpackbits(bits, count=200).mean() for n, bits in both.items()}
    )
    trials = loaded.trials.assign(finetuned_worst=worst)
    found = compare_outcomes(trials, bound, "finetuned_worst")
    pairs = compare_levels(trials, "finetuned_worst")
    np.testing.assert_allclose(found["mean"], pairs["mean"])


def test_outcomes_that_are_not_the_trials_are_refused(loaded: Loaded) -> None:
    trials, evaluations = loaded.trials, loaded.evaluations
    with pytest.raises(AnalysisError, match="do not add up to finetuned_pgd_20"):
        compare_outcomes(trials.assign(**{METRIC: 0.5}), evaluations, METRIC)
    with pytest.raises(AnalysisError, match="288 networks have no outcomes of pgd_20 by image"):
        compare_outcomes(trials, evaluations[evaluations["attack"] == "clean"], METRIC)


def test_the_front_is_what_no_cell_beats(trials: pd.DataFrame) -> None:
    found = pareto_front(trials, METRIC)
    for size in ("params", "macs"):
        for row in found.itertuples():
            smaller = found[found[size] <= getattr(row, size)]
            beaten = (smaller["mean"] > row.mean).any() or (
                (smaller["mean"] == row.mean) & (smaller[size] < getattr(row, size))
            ).any()
            assert getattr(row, f"front_{size}") == (not beaten)


@pytest.mark.parametrize("table", [rank_agreement, compare_levels])
def test_one_level_is_not_compared(table, trials: pd.DataFrame) -> None:
    with pytest.raises(AnalysisError, match="criterion has one level alone"):
        table(trials[trials["criterion"] == "l1"], METRIC)


@pytest.mark.parametrize("table", [cost_of_choice, compare_levels])
def test_one_seed_is_not_enough(table, trials: pd.DataFrame) -> None:
    with pytest.raises(AnalysisError, match="run at least 2"):
        table(trials[trials["seed"] == 0], METRIC)


def test_the_best_is_judged_where_it_was_not_chosen() -> None:
    """Among equal cells the best looks better than it is, and is not said to be."""
    rng = np.random.default_rng(0)
    gaps, seen = [], []
    for _ in range(40):
        rows = itertools.product("abcdef", "xy", range(3))
        trials = pd.DataFrame(rows, columns=["criterion", "finetuning", "seed"])
        trials = trials.assign(status="done", **{METRIC: rng.normal(0.5, 0.05, len(trials))})
        found = results.best(trials, METRIC, by="finetuning")
        gaps += list(found["mean"] - 50)
        seen += list(found["seen"] - 50)
    assert abs(np.mean(gaps)) < 3 * np.std(gaps) / np.sqrt(len(gaps))
    assert np.mean(seen) > 2
    assert found.attrs["units"]["mean"] == "accuracy points"


def test_the_best_of_each_level_and_curves(trials: pd.DataFrame) -> None:
    found = results.best(exact(trials), METRIC, by=["sparsity"]).set_index("sparsity")
    assert found.loc[0.5, ["criterion", "allocation", "finetuning"]].tolist() == [
        "l1",
        "mrs",
        "pgd",
    ]
    assert found.loc[0.5, "mean"] == pytest.approx(found.loc[0.5, "seen"])
    curve = results.curves(trials, METRIC, by="criterion")
    means = 100 * trials.groupby(["criterion", "sparsity"])[METRIC].mean()
    assert curve.set_index(["criterion", "sparsity"])["mean"].to_dict() == pytest.approx(
        dict(means)
    )
    with pytest.raises(results.AnalysisError, match="typo does not vary"):
        results.best(trials, METRIC, by="typo")
