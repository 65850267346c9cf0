"""Sweeps built to mislead: what the verdict says of them."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

import results
from results.statistics.design.design import make_design
from results.statistics.design.words import shortly
from results.statistics.verdict.confounds import duplicates
from results.statistics.verdict.strikes import strikes

from simulated import simulated
from test_analysis import sweep

METRIC = "finetuned_pgd_20"


def described(trials: pd.DataFrame) -> pd.DataFrame:
    """Rows with the settings that a sweep's own have."""
    none = trials["finetuning"] == "none"
    return trials.assign(
        epochs=np.where(none, 0, 4), lr=0.01, objective=trials["finetuning"], norm="linf",
        eps=8 / 255, budget="params", error=None,
    )  # fmt: skip


def test_the_sentence_says_its_conditions() -> None:
    said = results.verdict(described(sweep())).sentence
    for part in (
        "on digits", "linf 8/255", "criteria l1, lamp and random",
        "fine-tunings none (0 epochs), pgd (4 epochs) and standard (4 epochs)",
        "50 and 80 % of params removed", "these test images alone",
        "by chance have befallen none of these 4",
    ):  # fmt: skip
        assert part in said, part


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ("one", "All seeds start from one checkpoint: they repeat what follows it"),
        ("by architecture", "All seeds start from one checkpoint"),
        ("some", "All seeds of some dense networks start from one checkpoint"),
        ("by seed", ""),
        ("none", ""),
    ],
)
def test_seeds_that_start_from_one_file_are_said_to(files: str, words: str) -> None:
    trials = described(sweep()).assign(dense="dense")
    starts = {
        "one": "a",
        "by architecture": trials["architecture"],
        "some": trials["architecture"].where(trials["architecture"] == "resnet8"),
        "by seed": trials["seed"].map("file-{}".format),
        "none": None,
    }
    said = results.verdict(trials.assign(checkpoint=starts[files])).sentence
    assert words in said
    assert bool(words) == ("checkpoint" in said)


def test_compute_that_comes_with_a_fine_tuning_is_said() -> None:
    steps = {"none": None, "standard": None, "pgd": 3}
    trials = described(sweep()).assign(macs=1000)
    found = results.verdict(trials.assign(attack_steps=trials["finetuning"].map(steps)))
    assert "pgd costs 4 times the compute of standard" in found.sentence
    alike = results.verdict(trials.assign(attack_steps=None)).sentence
    assert "costs" not in alike


def test_clean_accuracy_is_under_no_threat() -> None:
    trials = described(sweep()).rename(columns={METRIC: "finetuned_clean"})
    found = results.verdict(trials, "finetuned_clean")
    assert "linf" not in found.sentence
    assert found.sentence == f"{found.finding} {found.conditions}"


def test_what_diverged_counts_as_chance_and_its_level_is_named() -> None:
    """A criterion whose bad trials fail looks no better for it."""
    trials = described(sweep(finetuning=0.3, noise=0.02))
    bad = (trials["criterion"] == "random") & (trials["finetuning"] != "pgd")
    broken = trials.assign(
        status=np.where(bad, "failed", "done"),
        error=np.where(bad, "DivergedError: the loss is not finite", None),
        **{METRIC: trials[METRIC].mask(bad)},
    )
    found = results.verdict(broken)
    assert found.winner == "undecided"
    assert "carry no verdict" in found.sentence
    assert "diverged, left out" in found.sentence
    assert "criterion random lacks 67 %" in found.sentence
    assert "32 diverged" in found.sentence


def test_lost_workers_are_missing_at_random() -> None:
    trials = described(sweep())
    lost = np.random.default_rng(0).random(len(trials)) < 0.15
    holed = trials.assign(
        status=np.where(lost, "failed", "done"),
        error=np.where(lost, "the worker was lost", None),
        **{METRIC: trials[METRIC].mask(lost)},
    )
    found = results.verdict(holed)
    assert found.winner == "finetuning"
    assert not found.refusals
    assert "lost to the machine" in found.sentence


def test_failures_of_unknown_cause_must_not_decide() -> None:
    trials = described(sweep(finetuning=0.35, noise=0.005))
    bad = (trials["criterion"] == "random") & (trials["seed"] < 3)
    broken = trials.assign(
        status=np.where(bad, "failed", "done"),
        error=np.where(bad, "RuntimeError: something", None),
        **{METRIC: trials[METRIC].mask(bad)},
    )
    found = results.verdict(broken)
    assert found.refusals
    assert "failed, counted as chance" in found.sentence


def test_means_and_effects_of_levels_say_the_same() -> None:
    """The worst cells of a level are missing: its mean is not higher for it."""
    trials = sweep(noise=0.01)
    gone = (
        (trials["criterion"] == "random") & (trials["finetuning"] == "none") & (trials["seed"] > 0)
    )
    for kept in (trials[~gone], trials[(trials["criterion"] != "l1") | (trials["sparsity"] < 0.8)]):
        means = results.level_means(kept, METRIC, "criterion").set_index("criterion")["mean"]
        effects = results.level_effects(kept, METRIC).query("factor == 'criterion'")
        effects = effects.set_index("level")["effect"]
        np.testing.assert_allclose(means - means.mean(), effects, atol=1e-6)


def test_an_interaction_with_another_factor_is_named_and_so_is_where_it_is_otherwise() -> None:
    trials = sweep(finetuning=0.5, noise=0.004)
    turn = trials["criterion"].map({"l1": 1.0, "lamp": 0.0, "random": -1.0})
    trials[METRIC] += 0.2 * turn * np.where(trials["sparsity"] == 0.5, 1, -1)
    found = results.verdict(trials)
    assert found.winner == "finetuning"
    assert re.search(r"criterion . sparsity 9\d %", found.sentence)
    assert "although within each sparsity, criterion matters more" in found.sentence
    assert "sparsity 0.5, criterion matters more" in found.robustness


def test_a_level_given_twice_is_left_out_with_its_double() -> None:
    trials = described(sweep(noise=0.004))
    flat = trials["finetuning"] != "none"
    shift = trials["finetuning"].map({"standard": 0.0, "pgd": 0.1, "none": 0.0})
    trials.loc[flat, METRIC] -= shift[flat]  # all rests on "none"
    double = trials[trials["finetuning"] == "none"].assign(finetuning="none-too", lr=0.0101)
    found = results.verdict(pd.concat([trials, double], ignore_index=True))
    assert found.winner == "finetuning"
    assert found.alike["finetuning"] == [("none", "none-too")]
    assert any("none and none-too" in text for text in found.depends_on)
    assert "none and none-too" in found.robustness


def test_levels_of_one_outcome_are_counted_once() -> None:
    """Two draws of random pruning: the verdict hangs on both together."""
    rng = np.random.default_rng(4)
    trials = sweep(noise=0.005)
    trials.loc[trials["criterion"] == "random", METRIC] -= 0.2
    other = trials[trials["criterion"] == "random"].assign(criterion="random-2")
    other[METRIC] += rng.normal(0, 0.005, len(other))
    both = pd.concat([trials, other], ignore_index=True)
    groups = duplicates(both, make_design(both, METRIC), "criterion")
    assert ("random", "random-2") in groups
    found = results.verdict(both)
    assert any("random and random-2" in text for text in found.depends_on)


def test_every_two_levels_of_a_group_are_alike() -> None:
    """A chain of neighbours, whose ends lie far apart, was called hardly more than one level."""
    trials = described(sweep(finetuning=0.1))
    rates = {"none": 0.0100, "standard": 0.0107, "pgd": 0.0114}
    chain = trials.assign(objective="pgd", epochs=4, lr=trials["finetuning"].map(rates))
    groups = duplicates(chain, make_design(chain, METRIC), "finetuning")
    assert groups == [("none", "standard")]


def test_many_levels_that_are_left_out_are_named_in_short() -> None:
    assert shortly(["l1", "l2"]) == "l1 and l2"
    assert shortly(["l1", "l2", "lamp"]) == "l1, l2 and lamp"
    assert shortly(["l1", "l2", "lamp", "taylor", "snip"]) == "l1, l2 and 3 more"


def test_how_far_the_share_moves_is_said() -> None:
    trials = sweep(noise=0.004)
    trials.loc[trials["finetuning"] == "none", METRIC] -= 0.2
    found = results.verdict(trials)
    assert found.winner == "finetuning"
    assert "Leaving out fine-tuning none moves the difference most: from" in found.robustness


def test_more_compute_for_one_criterion_is_no_verdict() -> None:
    trials = described(sweep(finetuning=0.1))
    favoured = (trials["criterion"] == "l1") & (trials["finetuning"] != "none")
    trials.loc[favoured, "epochs"] = 20
    trials.loc[favoured, METRIC] += 0.3
    found = results.verdict(trials)
    assert found.winner == "undecided"
    assert "criteria differ in epochs (l1: 0/20; lamp and random: 0/4)" in found.sentence


def test_other_settings_that_differ_are_said() -> None:
    trials = described(sweep())
    trials.loc[trials["criterion"] == "l1", "lr"] = 0.1
    found = results.verdict(trials)
    assert found.winner == "finetuning"
    assert "Criteria differ in lr (l1: 0.1; lamp and random: 0.01) as well" in found.robustness


def test_a_verdict_prints_its_own_confidence_within_what_is_possible() -> None:
    found = results.verdict(sweep(seeds=3, noise=0.3, finetuning=0.3), confidence=0.5)
    assert "50 % interval" in found.sentence
    assert "95 %" not in found.sentence
    wide = results.verdict(sweep(seeds=3, noise=0.15, finetuning=0.25, seed=2))
    assert wide.low >= -1
    assert wide.high <= 1


def test_equal_effects_are_not_promised_a_decision() -> None:
    trials = sweep(finetuning=0.2, noise=0.02)
    ways = trials["finetuning"].map({"none": -0.02, "standard": 0.0, "pgd": 0.02})
    trials[METRIC] += ways - 0.2 * trials["finetuning"].map(
        {"none": -0.1, "standard": 0, "pgd": 0.1}
    )
    found = results.verdict(trials)
    assert found.winner == "undecided"
    assert (
        "in half of the cases" in found.sentence
        or "if the effects are as measured" in found.sentence
    )
    assert found.power.chance <= 1


def test_a_level_that_fails_at_one_seed_is_named() -> None:
    trials = sweep(noise=0.005)
    trials.loc[(trials["criterion"] == "lamp") & (trials["seed"] == 2), METRIC] -= 0.3
    found = results.verdict(trials)
    assert found.winner == "undecided"
    assert "criterion lamp falls by 30 points at seed 2 alone, and 4 seeds" in found.sentence
    assert found.unstable == ("criterion lamp falls by 30 points at seed 2 alone",)


def test_a_collapse_seen_often_enough_is_no_refusal() -> None:
    trials = sweep(seeds=10, noise=0.005)
    trials.loc[(trials["criterion"] == "lamp") & (trials["seed"] < 5), METRIC] -= 0.3
    found = results.verdict(trials)
    assert not found.refusals
    assert found.unstable == ("criterion lamp falls by 30 points at 5 of 10 seeds",)


@pytest.mark.parametrize("seeds", [3, 5])
def test_noise_is_seldom_taken_for_a_collapse(seeds: int) -> None:
    found = 0
    for seed in range(40):
        noise = np.random.default_rng(seed).normal(0, 0.06, (3, seeds))
        trials = sweep(seeds=seeds, noise=0.02, seed=seed)
        at = trials["criterion"].map({"l1": 0, "lamp": 1, "random": 2}), trials["seed"]
        trials[METRIC] += noise[at]
        found += len(strikes(make_design(trials, METRIC), "criterion"))
    assert found <= 3


def test_three_seeds_half_of_whose_trials_are_missing_carry_no_verdict() -> None:
    trials = described(sweep(seeds=3))
    kept = trials[np.random.default_rng(1).random(len(trials)) < 0.5]
    found = results.verdict(kept)
    assert found.winner == "undecided"
    assert "3 seeds do not carry one with 1." in found.sentence
    assert "not run" in found.sentence


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_intervals_of_pairs_say_what_their_p_values_say(noise: float) -> None:
    found = results.compare_levels(sweep(noise=noise, finetuning=0.1), METRIC, "criterion")
    apart = (found["low"] > 0) | (found["high"] < 0)
    assert (apart == (found["p"] < 0.05)).all()


@pytest.mark.parametrize(("classes", "said"), [(100, "1.0 %, of 100 classes"), (None, "10.0 %")])
def test_chance_is_of_as_many_classes_as_there_are(classes: int | None, said: str) -> None:
    trials = described(sweep()).assign(classes=classes)
    bad = (trials["criterion"] == "random") & (trials["seed"] == 0)
    broken = trials.assign(
        status=np.where(bad, "failed", "done"),
        error=np.where(bad, "DivergedError: the loss is not finite", None),
        **{METRIC: trials[METRIC].mask(bad)},
    )
    broken.loc[bad, "classes"] = None  # a trial that failed has seen no images
    notes = make_design(broken, METRIC).notes
    assert any(said in note for note in notes), notes


def test_a_worst_case_says_of_which_attacks_and_how_many_images() -> None:
    """Its images were counted, and the sentence said that it is of these alone."""
    tables = simulated(seeds=3)
    trials = tables.trials.assign(finetuned_worst=tables.trials["finetuned_pgd_20"])
    other = tables.evaluations.assign(network="of another sweep", count=7)
    evaluations = pd.concat([other, tables.evaluations], ignore_index=True)
    said = results.verdict(trials, "finetuned_worst", evaluations=evaluations).sentence
    assert "by the worst of pgd-20 at each image" in said
    assert "judged on 200 test images, with the error of other images counted" in said
