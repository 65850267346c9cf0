"""Claims: what is decided, against other ways to decide it; error and power; certificates."""

from __future__ import annotations

import itertools
import json
import statistics

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import results
from results.claims.certificate import derived, differences, rows_digest
from results.claims.chance import Assumed, chances, seeds_needed
from results.claims.design import Design
from results.claims.looks import found, looks
from results.claims.outcome import OUTCOMES, decided
from results.claims.question import (
    AGREEMENT,
    CONTRAST,
    EQUIVALENT,
    GREATER,
    NO_WORSE,
    SHARE,
    Question,
)
from results.claims.robustness import dependence, variations

from test_analysis import sweep

METRIC = "finetuned_pgd_20"
PGD = Question(CONTRAST, ("finetuning",), METRIC, 1.0, levels=("pgd", "none"))


def rows(seeds: int = 4, **changes: float) -> pd.DataFrame:
    trials = sweep(seeds, **changes)
    return trials.assign(trial_id=[f"{i:04}" for i in range(len(trials))])


def planned(trials: pd.DataFrame) -> pd.DataFrame:
    return trials[["trial_id", "architecture", "criterion", "sparsity", "finetuning", "seed"]]


def test_a_contrast_is_the_t_interval_of_the_seeds_differences() -> None:
    trials = rows(noise=0.03)
    finding = found(trials, PGD, 0.03)
    by_seed = trials.pivot_table(index="seed", columns="finetuning", values=METRIC)
    expected = stats.ttest_1samp(100 * (by_seed["pgd"] - by_seed["none"]), 0)
    interval = expected.confidence_interval(0.97)
    (part,) = finding.parts
    assert part[1:] == pytest.approx((np.mean(100 * (by_seed["pgd"] - by_seed["none"])), *interval))
    assert finding.outcome == "supported"


def test_where_leaves_the_other_cells_out() -> None:
    trials = rows()
    question = Question(
        CONTRAST, ("criterion",), METRIC, 0.5, levels=("lamp", "l1"),
        where={"finetuning": ("pgd",), "sparsity": (0.5,)},
    )  # fmt: skip
    kept = trials.query("finetuning == 'pgd' and sparsity == 0.5")
    means = kept.groupby("criterion")[METRIC].mean()
    (part,) = found(trials, question, 0.05).parts
    assert part.value == pytest.approx(100 * (means["lamp"] - means["l1"]))


def test_a_claim_of_shares_is_the_verdict_s_comparison() -> None:
    trials = rows()
    finding = found(trials, Question(SHARE, ("finetuning", "criterion"), METRIC), 0.05)
    verdict = results.verdict(trials, METRIC)
    (part,) = finding.parts
    assert part[1:] == pytest.approx(
        (100 * verdict.difference, 100 * verdict.low, 100 * verdict.high)
    )
    other = found(trials, Question(SHARE, ("criterion", "finetuning"), METRIC), 0.05)
    assert (finding.outcome, other.outcome) == ("supported", "refuted")
    chance = Question(SHARE, ("criterion", "finetuning"), METRIC, estimand="left to chance")
    table = results.estimands(trials, METRIC).set_index("estimand")
    assert found(trials, chance, 0.05).parts[0].value == pytest.approx(
        -table.loc["left to chance", "difference"]
    )


def test_agreement_is_kendall_s_tau_before_and_after() -> None:
    trials = rows(noise=0.001).assign(policy="finetune", pruned_pgd_20=lambda of: -of[METRIC])
    question = Question(AGREEMENT, ("criterion",), METRIC, 0.5, where={"finetuning": ("standard",)})
    means = trials.query("finetuning == 'standard'").groupby("criterion")[
        [METRIC, "pruned_pgd_20"]
    ].mean()  # fmt: skip
    finding = found(trials, question, 0.05)
    assert finding.parts[0].value == stats.kendalltau(*means.to_numpy().T).statistic == -1
    assert finding.outcome == "refuted"
    unlike = trials.assign(pruned_pgd_20=lambda of: of["criterion"].map(
        {"l1": 0.5, "lamp": 0.3, "random": 0.4}))  # fmt: skip
    assert found(unlike, question, 0.05).outcome == "refuted"  # not "equivalent" to no agreement


@pytest.mark.parametrize(
    ("expects", "low", "high", "outcome"),
    [
        (GREATER, 1.1, 3, "supported"), (GREATER, 0.5, 3, "undecided"),
        (GREATER, -0.9, 0.9, "equivalent"), (GREATER, -3, 0.9, "refuted"),
        (GREATER, -3, -2, "refuted"), (NO_WORSE, -0.9, 5, "supported"),
        (NO_WORSE, -3, -1.1, "refuted"), (NO_WORSE, -1.1, 5, "undecided"),
        (EQUIVALENT, -0.9, 0.9, "supported"), (EQUIVALENT, 1.1, 3, "refuted"),
        (EQUIVALENT, -3, -1.1, "refuted"), (EQUIVALENT, 0, 3, "undecided"),
    ],
)  # fmt: skip
def test_what_an_interval_decides(expects: str, low: float, high: float, outcome: str) -> None:
    ends = (np.array([low]), np.array([high]))
    assert OUTCOMES[int(decided(ends, ends, 1.0, expects))] == outcome


def test_a_claim_of_several_parts_is_of_them_all() -> None:
    """Supported only where each is, at the full level; refuted by one, at its part of it."""
    low, high = np.array([2.0, 0.5]), np.array([3.0, 4.0])
    assert decided((low, high), (low, high), 1.0, GREATER) == 0
    assert decided((low + 1, high), (low, high), 1.0, GREATER) == 1
    high = np.array([3.0, 0.9])
    assert decided((low, high), (low, high + 0.2), 1.0, GREATER) == 0
    assert decided((low, high), (low, high + 0.05), 1.0, GREATER) == 2


def test_what_may_be_missed_adds_up() -> None:
    normal = statistics.NormalDist()
    for spending, spent in (
        ("obrien-fleming", 2 * normal.cdf(normal.inv_cdf(0.025) / np.sqrt(3 / 8))),
        ("pocock", 0.05 * np.log(1 + (np.e - 1) * 3 / 8)),
    ):
        alphas = Design((3, 5, 8), 0.05, spending).alphas
        assert sum(alphas) == pytest.approx(0.05)
        assert alphas[0] == pytest.approx(spent)
    assert Design((5,), 0.01).alphas == pytest.approx((0.01,))


def test_the_chance_of_a_fixed_design_is_that_of_noncentral_t() -> None:
    for seeds, difference in ((3, 4.0), (6, 2.5), (12, 2.0)):
        told = chances(PGD, Design((seeds,)), Assumed.stated(difference, 1.0))
        shift = (difference - 1) * np.sqrt(seeds)
        exact = stats.nct.sf(stats.t.ppf(0.975, seeds - 1), seeds - 1, shift)
        assert told["supported"] == pytest.approx(exact, abs=0.025)
        assert sum(told.values()) == pytest.approx(1)


def test_the_seeds_needed_are_the_fewest() -> None:
    assumed = Assumed.stated(2.0, 1.0)
    needed = seeds_needed(PGD, Design((3,)), assumed, 0.8)
    shift = np.sqrt(np.arange(3, 30))
    exact = stats.nct.sf(stats.t.ppf(0.975, np.arange(2, 29)), np.arange(2, 29), shift)
    assert abs(needed - (3 + int((exact >= 0.8).argmax()))) <= 1  # type: ignore[operator]
    assert seeds_needed(PGD, Design((3,)), Assumed.stated(1.001, 9.0), 0.8) is None


def test_a_pilot_of_few_seeds_promises_less_than_its_scatter_alone() -> None:
    trials = rows(3, noise=0.05)
    pilot = Assumed.seen(trials, PGD, None)
    by_seed = trials.pivot_table(index="seed", columns="finetuning", values=METRIC)
    gaps = 100 * (by_seed["pgd"] - by_seed["none"])
    assert pilot.differences == pytest.approx([gaps.mean()])
    assert np.sqrt((pilot.scatter**2).sum()) == pytest.approx(gaps.std(ddof=1))
    surer = Assumed(pilot.differences, pilot.scatter)
    near = [
        chances(PGD, Design((5,)), Assumed(np.array([3.0]), of.scatter, of.degrees))["supported"]
        for of in (pilot, surer)
    ]
    assert near[0] < near[1]


@pytest.mark.parametrize("seeds", [(5,), (3, 5, 8)])
def test_false_support_and_power_are_as_promised(seeds: tuple[int, ...]) -> None:
    """Seeds drawn here and judged by scipy; `benchmarks/claims.py` does so at length."""
    design, rng = Design(seeds), np.random.default_rng(0)
    values = rng.standard_normal((8000, seeds[-1]))
    for difference, most, least in ((1.0, 0.05, 0.0), (3.5, 1.0, None)):
        supported, ended = np.zeros(8000, bool), np.zeros(8000, bool)
        for n, alpha in zip(seeds, design.alphas, strict=True):
            test = stats.ttest_1samp(difference + values[:, :n], 0, axis=1)
            low, high = test.confidence_interval(1 - alpha)
            supported |= ~ended & (low > 1)
            ended |= (low > 1) | (high < 1)
        told = chances(PGD, design, Assumed.stated(difference, 1.0))["supported"]
        assert supported.mean() <= most
        assert supported.mean() == pytest.approx(told, abs=0.02 if least is None else 0.01)


def test_nothing_is_looked_at_beyond_the_design() -> None:
    trials = rows(8, noise=0.2, finetuning=0.1)
    design = Design((3, 5))
    taken = list(looks(trials, planned(trials), PGD, design))
    assert [look.seeds for look in taken] == [3, 5]
    early = trials["seed"] < 5
    other = trials.assign(**{METRIC: trials[METRIC].where(early, 0.0)})
    assert list(looks(other, planned(trials), PGD, design)) == taken
    lacking = trials.drop(index=trials.index[trials["seed"] == 4][0])
    assert [look.seeds for look in looks(lacking, planned(trials), PGD, design)] == [3]


def test_a_look_is_at_the_lowest_seeds_that_are_planned() -> None:
    trials = rows(8, noise=0.2, finetuning=0.1)
    later = trials.assign(seed=trials["seed"] * 2 + 11)
    design = Design((3, 5))
    assert list(looks(later, planned(later), PGD, design)) == list(
        looks(trials, planned(trials), PGD, design)
    )


def test_a_design_ends_with_the_look_that_decides() -> None:
    trials = rows(8, noise=0.001)
    assert [look.seeds for look in looks(trials, planned(trials), PGD, Design((3, 5, 8)))] == [3]


def test_a_claim_that_hangs_on_how_failures_count_is_undecided() -> None:
    trials = rows(noise=0.001)
    question = Question(CONTRAST, ("criterion",), METRIC, 0.5, levels=("l1", "random"))
    assert found(trials, question, 0.05).outcome == "supported"
    some = (trials["criterion"] == "l1") & (trials["finetuning"] == "none")
    failed = trials.assign(
        status=trials["status"].mask(some, "failed"), error=np.where(some, "loss diverged", None),
        **{METRIC: trials[METRIC].mask(some)},
    )  # fmt: skip
    finding = found(failed, question, 0.05)
    assert finding.outcome == "undecided"
    assert any("diverged left out" in one for one in finding.refusals)


def test_variations_leave_levels_and_flagged_networks_out() -> None:
    trials = rows(noise=0.001)
    gain = {"l1": 0.05, "lamp": 0.0, "random": 0.0}
    trials[METRIC] = 0.5 + trials["seed"] / 100 + trials["criterion"].map(gain) * (
        trials["finetuning"] == "pgd"
    ) + np.random.default_rng(0).normal(0, 0.001, len(trials))  # fmt: skip
    trials["flags"] = np.where(trials["criterion"] == "l1", "iterated", None)
    question = Question(CONTRAST, ("criterion",), METRIC, 0.5, levels=("l1", "lamp"))
    finding = found(trials, question, 0.05)
    others = variations(trials, question, 0.05)
    assert finding.outcome == "supported"
    assert others["without fine-tuning pgd"].outcome == "equivalent"
    assert others["without sparsity 0.5"].outcome == "supported"
    assert any("sanity check" in name and of.outcome == "undecided" for name, of in others.items())
    assert "without fine-tuning pgd, it is equivalent" in dependence("supported", others)


def certificate(trials: pd.DataFrame, of: pd.DataFrame | None = None) -> dict:
    plan = planned(trials if of is None else of)
    return json.loads(json.dumps(derived("it is", PGD, Design((3, 5)), trials, plan)))


def test_a_certificate_is_derived_again_from_the_same_rows_in_any_order() -> None:
    trials = rows(5, noise=0.1)
    said = certificate(trials)
    assert list(differences(said, certificate(trials.sample(frac=1, random_state=1)))) == []
    assert said["final"]
    assert said["sentence"].startswith(f"{said['outcome'].capitalize()}: it is. ")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda t: t.assign(**{METRIC: t[METRIC] + 1e-6 * (t["seed"] == 0)}), "looks.0.rows"),
        (lambda t: t.assign(**{METRIC: t[METRIC] * 1.1}), "looks.0.intervals"),
        (lambda t: t[t["seed"] < 2], "looks"),
        (lambda t: t.assign(status=t["status"].mask(t["criterion"] == "l1", "failed")), "failed"),
    ],
)  # fmt: skip
def test_what_differs_is_named(change, place: str) -> None:
    trials = rows(5, noise=0.1)
    found_ = certificate(change(trials), trials)
    assert any(place in line for line in differences(certificate(trials), found_))


def test_a_digest_is_of_what_was_read() -> None:
    trials = rows()
    digests = {
        rows_digest(of, PGD)
        for of in (
            trials, trials.assign(finished=1), trials.assign(dense_pgd_20=0.1),
            trials.assign(seed=trials["seed"].astype(float)),
        )
    }  # fmt: skip
    assert len(digests) == 1
    for column in ("status", "criterion", METRIC):
        assert rows_digest(trials.assign(**{column: "x"}), PGD) not in digests


def test_the_question_is_said_in_words() -> None:
    several = Question(
        CONTRAST, ("criterion",), METRIC, 1.0, EQUIVALENT, ("l1", "lamp", "random"),
        where={"sparsity": (0.8,)},
    )  # fmt: skip
    assert len(several.pairs) == len(list(itertools.combinations(several.levels, 2)))
    assert "between \N{MINUS SIGN}1.0 and 1.0 points, at sparsity 0.8" in str(several)
