"""Statistics: against slow independent answers, on known truths, on data with holes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import results
from results.errors import AnalysisError
from results.statistics.design import least_squares
from results.statistics.design.design import Design, make_design
from results.statistics.design.intervals import mean_estimate, t_quantile
from results.statistics.shares.comparison import compare_main_effects
from results.statistics.shares.decomposition import (
    decompose_design,
    measured_terms,
    sums_of_squares,
    total_gram,
)
from results.statistics.shares.share_intervals import share_interval

LEVELS = {
    "architecture": ("resnet8", "vgg8"),
    "criterion": ("l1", "lamp", "random"),
    "sparsity": (0.5, 0.8),
    "finetuning": ("none", "pgd", "standard"),
}


EFFECTS = {"none": -0.1, "standard": 0.0, "pgd": 0.1, "l1": 0.02, "lamp": 0.0, "random": -0.02}


def sweep(seeds: int = 4, noise: float = 0.01, finetuning: float = 1.0, seed: int = 0):
    """Rows of ``trials`` with known effects: seed blocks, noise, one interaction."""
    rng = np.random.default_rng(seed)
    blocks = rng.normal(0, 0.02, seeds)
    rows = []
    for s in range(seeds):
        for levels in itertools.product(*LEVELS.values()):
            cell = dict(zip(LEVELS, levels, strict=True))
            value = 0.5 + blocks[s] + rng.normal(0, noise) if noise else 0.5 + blocks[s]
            value += finetuning * EFFECTS[cell["finetuning"]] + EFFECTS[cell["criterion"]]
            value += 0.02 * (cell["criterion"] == "l1") * (cell["finetuning"] == "pgd")
            rows.append({**cell, "seed": s, "dataset": "digits", "status": "done",
                         "finetuned_pgd_20": value})  # fmt: skip
    return pd.DataFrame(rows)


def slow_components(trials: pd.DataFrame, metric: str) -> dict[str, float]:
    """Between-cell variances by projection on contrast matrices and all pairs of seeds."""
    factors = list(LEVELS)
    wide = trials.pivot_table(index=factors, columns="seed", values=metric)
    means = {f: wide.groupby(level=f).transform("mean") for f in factors}
    assert len(means) == len(factors)
    projections = {}
    for f in factors:
        n = len(LEVELS[f])
        projections[f] = (np.full((n, n), 1 / n), np.eye(n) - 1 / n)
    found = {}
    values = wide.sort_index().to_numpy()
    for order in range(1, len(factors) + 1):
        for term in itertools.combinations(factors, order):
            matrix = np.ones((1, 1))
            for f in factors:
                matrix = np.kron(matrix, projections[f][f in term])
            effects = matrix @ values
            pairs = [
                effects[:, a] @ effects[:, b] / len(effects)
                for a, b in itertools.permutations(range(values.shape[1]), 2)
            ]
            found[":".join(term)] = float(np.mean(pairs))
    return found


def test_decomposition_against_explicit_projections() -> None:
    trials = sweep(noise=0.02)
    found = results.decompose(trials, "finetuned_pgd_20").set_index("term")
    slow = slow_components(trials, "finetuned_pgd_20")
    total = sum(slow.values())
    assert set(found.index) == {*slow, "seed", "noise"}
    for term, component in slow.items():
        assert found.loc[term, "share"] == pytest.approx(component / total, abs=1e-12)
        points = 100 * np.sqrt(max(component, 0))
        assert found.loc[term, "points"] == pytest.approx(points, abs=1e-9)
    assert found.loc[list(slow), "share"].sum() == pytest.approx(1)


def test_sums_of_squares_are_those_of_an_analysis_of_variance() -> None:
    """Against statsmodels, type II, on the same balanced data."""
    import statsmodels.api as sm
    from statsmodels.formula.api import ols

    trials = sweep(noise=0.02)
    fit = ols(f"finetuned_pgd_20 ~ C(seed) + {' * '.join(f'C({f})' for f in LEVELS)}", trials).fit()
    theirs = sm.stats.anova_lm(fit, typ=2)["sum_sq"]
    for term, ours in sums_of_squares(make_design(trials, "finetuned_pgd_20")).items():
        name = ":".join(f"C({factor})" for factor in term.split(":"))
        assert ours == pytest.approx(theirs[name], abs=1e-9)


def test_without_noise_the_shares_are_those_of_the_cells() -> None:
    trials = sweep(noise=0)
    found = results.decompose(trials, "finetuned_pgd_20").set_index("term")["share"]
    cells = trials.groupby(list(LEVELS))["finetuned_pgd_20"].mean()
    total = cells.var(ddof=0)
    for factor in LEVELS:
        main = cells.groupby(level=factor).mean().var(ddof=0)
        assert found[factor] == pytest.approx(main / total, abs=1e-9)
    assert found["noise"] == pytest.approx(0, abs=1e-9)
    assert found["seed"] > 0


def test_the_order_of_rows_and_a_shift_change_nothing() -> None:
    trials = sweep()
    shuffled = trials.sample(frac=1, random_state=3)
    shuffled["finetuned_pgd_20"] += 0.1
    first, second = (results.decompose(t, "finetuned_pgd_20") for t in (trials, shuffled))
    pd.testing.assert_frame_equal(first, second)


def test_intervals_cover_the_truth() -> None:
    """A short form of the calibration: 95 % intervals for shares and difference, 4 seeds."""
    truth = sweep(seeds=2, noise=0)
    design = make_design(truth, "finetuned_pgd_20")
    exact = decompose_design(design).set_index("term")["share"]
    gap = exact["finetuning"] - exact["criterion"]
    rng = np.random.default_rng(1)
    base = design.values[..., :1]
    shares = ("finetuning", "criterion", "sparsity")
    covered = {"finetuning": 0, "criterion": 0, "sparsity": 0, "difference": 0}
    tries = 400
    for _ in range(tries):
        values = base + rng.normal(0, 0.03, (1, 1, 1, 1, 4))
        values = (
            values + rng.normal(0, 0.01, (1, 1, 1, 3, 4)) + rng.normal(0, 0.01, (1, 3, 1, 1, 4))
        )
        values = values + rng.normal(0, 0.02, (*base.shape[:-1], 4))
        noisy = Design(design.factors, design.levels, (0, 1, 2, 3), values, ())
        terms = measured_terms(noisy, shares)
        lows, highs = share_interval(list(terms.values()), total_gram(noisy))
        for term, low, high in zip(terms, lows, highs, strict=True):
            covered[term] += low <= exact[term] <= high
        _, low, high = compare_main_effects(noisy, 0.95).difference
        covered["difference"] += low <= gap <= high
    for name, count in covered.items():
        assert 0.91 <= count / tries <= 1.0, (name, count / tries)
    assert covered["difference"] / tries <= 0.99


def test_equal_effects_are_seldom_told_apart() -> None:
    """A short form of the calibration: false verdicts where neither is larger, 3 seeds."""
    rng = np.random.default_rng(5)
    names = ("criterion", "finetuning")
    ways = np.array([-1.0, 0.0, 1.0])
    cells = 0.05 * (ways[:, None] + ways[None, :])[..., None]
    tries, false = 500, 0
    for _ in range(tries):
        values = cells + rng.normal(0, 0.02, (3, 1, 3)) + rng.normal(0, 0.02, (1, 3, 3))
        design = Design(names, ((0, 1, 2),) * 2, (0, 1, 2), values, ())
        false += compare_main_effects(design).winner != "undecided"
    assert false / tries <= 0.08  # 5 % and three standard errors


def test_trials_missing_at_some_seeds_are_filled_in_and_counted() -> None:
    trials = sweep()
    holes = trials.drop(index=[5, 40, 77])
    holes.loc[100, "status"] = "failed"
    holes.loc[101, "finetuned_pgd_20"] = np.nan
    design = make_design(holes, "finetuned_pgd_20")
    assert design.values.shape == (2, 3, 2, 3, 4)
    assert any("5 of 144 trials (3.5 %) are missing" in note for note in design.notes)
    whole, filled = (
        results.decompose(t, "finetuned_pgd_20").set_index("term")["share"] for t in (trials, holes)
    )
    assert (whole - filled)[["finetuning", "criterion"]].abs().max() < 0.02


def test_a_level_without_trials_is_left_out_and_named() -> None:
    trials = sweep()
    trials.loc[trials["criterion"] == "lamp", "status"] = "failed"
    design = make_design(trials, "finetuned_pgd_20")
    assert design.levels[design.factors.index("criterion")] == ("l1", "random")
    assert design.notes == ("criterion lamp is left out: it has no trials",)


def excluded(trials: pd.DataFrame) -> pd.DataFrame:
    return trials[~((trials["criterion"] == "random") & (trials["finetuning"] == "none"))]


def test_an_excluded_combination_stays_a_hole() -> None:
    design = make_design(excluded(sweep()), "finetuned_pgd_20")
    assert design.levels == make_design(sweep(), "finetuned_pgd_20").levels
    assert (design.cells, design.complete) == (32, False)
    assert len(design.notes) == 1
    assert "4 of 36 cells were run at no seed" in design.notes[0]


def test_with_holes_an_effect_is_what_it_adds_by_least_squares() -> None:
    """Against residual sums of squares of dummy-coded models, type II, by numpy's lstsq."""
    design = make_design(excluded(sweep(noise=0.02)), "finetuned_pgd_20")
    values = design.values[design.there]
    mean = values.mean(1)
    place = np.nonzero(design.there)
    terms = [t for n in (1, 2, 3) for t in itertools.combinations(range(4), n)]

    def residual(model: list[tuple[int, ...]]) -> float:
        columns = [np.ones((len(mean), 1))]
        for term in model:
            level = np.ravel_multi_index([place[a] for a in term],
                                         [len(design.levels[a]) for a in term])  # fmt: skip
            columns.append(np.eye(level.max() + 1)[level])
        matrix = np.concatenate(columns, axis=1)
        return float(((mean - matrix @ np.linalg.lstsq(matrix, mean, rcond=1e-9)[0]) ** 2).sum())

    found = measured_terms(design)
    assert len(found) == len(terms)
    for term in terms:
        lower = [u for u in terms if not set(term) <= set(u)]
        adds = residual(lower) - residual([*lower, term])
        name = ":".join(design.factors[a] for a in term)
        # The gram's mean over all pairs of seeds is the sum of squares of the seeds' mean.
        assert found[name].gram.mean() * len(mean) == pytest.approx(adds, abs=1e-10)
    table = decompose_design(design)
    whole = table[(table["order"] > 0) | (table["term"] == "shared")]
    assert whole["share"].sum() == pytest.approx(1)
    assert results.verdict(excluded(sweep())).winner == "finetuning"


def test_least_squares_on_a_complete_design_is_the_exact_decomposition() -> None:
    design = make_design(sweep(noise=0.02), "finetuned_pgd_20")
    exact = measured_terms(design)
    for name, term in least_squares.measured_terms(design).items():
        np.testing.assert_allclose(term.gram, exact[name].gram, atol=1e-12)
        assert term.degrees == exact[name].degrees


def test_a_seed_that_hardly_ran_is_left_out() -> None:
    trials = sweep()
    late = trials[trials["seed"] == 3].index[8:]
    design = make_design(trials.drop(index=late), "finetuned_pgd_20")
    assert design.seeds == (0, 1, 2)
    assert design.notes == ("seed 3 is left out: it lacks 78% of the cells",)


def test_a_gain_is_fine_tuned_less_pruned() -> None:
    trials = sweep().assign(pruned_pgd_20=0.25)
    gain, after = (make_design(trials, name) for name in ("gain_pgd_20", "finetuned_pgd_20"))
    np.testing.assert_allclose(gain.values, after.values - 0.25)


def test_paired_differences_pair_by_cell_and_seed() -> None:
    trials = sweep(noise=0)
    found = results.paired_difference(trials, "finetuned_pgd_20", "criterion", "lamp", "random")
    assert found.loc[0, "mean"] == pytest.approx(2.0)
    assert found.loc[0, "pairs"] == 48
    assert found.loc[0, "low"] == pytest.approx(2.0)
    by = results.paired_difference(
        trials, "finetuned_pgd_20", "criterion", "l1", "lamp", ["finetuning"]
    ).set_index("finetuning")["mean"]
    assert by.to_dict() == pytest.approx({"none": 2.0, "pgd": 4.0, "standard": 2.0})
    with pytest.raises(AnalysisError, match="criterion has no level 'x'; there are: "):
        results.paired_difference(trials, "finetuned_pgd_20", "criterion", "l1", "x")


def test_level_means_are_means_of_seed_means() -> None:
    trials = sweep()
    found = results.level_means(trials, "finetuned_pgd_20", ["criterion"]).set_index("criterion")
    by_seed = 100 * trials[trials["criterion"] == "l1"].groupby("seed")["finetuned_pgd_20"].mean()
    assert found.loc["l1", "mean"] == pytest.approx(by_seed.mean())
    reach = 3.182446 * by_seed.std(ddof=1) / 2  # Student's t, 3 degrees of freedom
    assert found.loc["l1", "high"] == pytest.approx(by_seed.mean() + reach)


def test_intervals_need_two_values() -> None:
    mean = mean_estimate(np.array([1.0]))
    assert mean.value == 1
    assert np.isnan([mean.low, mean.high]).all()
    assert t_quantile(0.95, 2) == pytest.approx(4.302653)


def test_a_missing_cell_of_thousands_takes_no_time() -> None:
    """Its system is as large as the holes, not as the cells or the columns: 2,520 of these."""
    rng = np.random.default_rng(0)
    sizes = (4, 10, 6, 3, 14)
    values = np.repeat(rng.normal(size=(*sizes, 1)), 3, axis=-1) + rng.normal(0, 0.1, (*sizes, 3))
    whole = Design(tuple("abcde"), tuple(tuple(range(n)) for n in sizes), (0, 1, 2), values, ())
    holed = values.copy()
    holed[1, 2, 3, 1, 5] = np.nan
    found, exact = (measured_terms(replace(whole, values=of)) for of in (holed, values))
    for name in ("a", "b:e", "c:d:e"):
        np.testing.assert_allclose(found[name].gram, exact[name].gram, rtol=0.05, atol=1e-5)
