"""The parts of fine-tuning as factors, and what flags do to a verdict."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

import results
from results.errors import AnalysisError
from results.statistics.verdict.subfactors import parts, subfactors_of

METRIC = "finetuned_pgd_20"
OBJECTIVES = {"standard": -0.1, "pgd": 0.06, "trades": 0.1}
POLICIES = {"finetune": 0.0, "lr-rewind": 0.02, "scratch": -0.04}


def sweep(
    objective: float = 1.0, policy: float = 1.0, noise: float = 0.005, seeds: int = 4
) -> pd.DataFrame:
    """Rows of ``trials``: every objective under every policy, and no fine-tuning at all."""
    rng = np.random.default_rng(0)
    rows = []
    levels = [("none", None, "none", None), *(
        (f"{o}-{p}", o, p, 0.05 if p == "lr-rewind" else 0.01)
        for o, p in itertools.product(OBJECTIVES, POLICIES)
    )]  # fmt: skip
    for seed, criterion, sparsity in itertools.product(range(seeds), ("l1", "random"), (0.5, 0.8)):
        for name, o, p, lr in levels:
            value = 0.4 + 0.01 * (criterion == "l1") - 0.1 * (sparsity == 0.8)
            value += objective * OBJECTIVES.get(o, -0.3) + policy * POLICIES.get(p, 0.0)
            rows.append({
                "seed": seed, "criterion": criterion, "sparsity": sparsity, "finetuning": name,
                "objective": o, "policy": p, "lr": lr, "epochs": 0 if o is None else 3,
                "beta": 6.0 if o == "trades" else None, "dataset": "digits", "status": "done",
                "flags": None, METRIC: value + rng.normal(0, noise),
            })  # fmt: skip
    return pd.DataFrame(rows)


def test_the_parts_are_the_columns_that_tell_levels_apart() -> None:
    trials = sweep()
    assert subfactors_of(trials) == ["objective", "policy"]  # lr goes with the policy
    more = pd.concat([
        trials, trials[trials["finetuning"] == "pgd-finetune"].assign(finetuning="fast", lr=0.1)
    ])  # fmt: skip
    assert subfactors_of(more) == ["objective", "policy", "lr"]
    varied = trials.assign(policy=np.where(trials["seed"] == 0, "scratch", trials["policy"]))
    assert "policy" not in subfactors_of(varied)
    assert subfactors_of(trials[trials["policy"] == "none"]) == []
    assert subfactors_of(trials.drop(columns="policy")) == []


def test_the_rows_of_the_parts_are_those_that_they_are_told_of() -> None:
    """Means by part were of levels, too, that the shares leave out: from new weights, for one."""
    trials = sweep()
    assert parts(trials, METRIC).crossed
    whole = trials["finetuning"].isin(["pgd-scratch", "none"]) | (trials["policy"] == "finetune")
    slow = trials[trials["finetuning"] == "pgd-finetune"].assign(finetuning="slow", lr=0.001)
    found = parts(pd.concat([trials[whole], slow], ignore_index=True), METRIC)
    assert "policy scratch is left out" in " ".join(found.notes)
    assert set(found.trials["finetuning"]) == {
        "standard-finetune", "pgd-finetune", "trades-finetune", "slow"
    }  # fmt: skip
    assert not found.crossed


def test_what_the_parts_explain_is_their_decomposition() -> None:
    trials = sweep()
    found = parts(trials, METRIC)
    rows = trials[trials["policy"] != "none"]
    table = results.decompose(rows, METRIC, ["criterion", "sparsity", "objective", "policy"])
    pd.testing.assert_frame_equal(found.table, table)
    shares = table.set_index("term")["share"]
    assert found.parts == ("objective", "policy")
    assert found.decided
    assert found.shares["objective"].value == shares["objective"] > shares["policy"]
    assert found.difference == pytest.approx(shares["objective"] - shares["policy"])
    assert found.together == shares["objective:policy"]
    assert (found.seeds, found.cells) == (4, 36)
    assert found.sentence.startswith(
        "Of fine-tuning's parts, the objective matters most for PGD-20 accuracy: between 36 "
        "fine-tuned cells at 4 seeds, the objective "
    )
    assert "the criterion 0 %" in found.sentence or "the criterion 1 %" in found.sentence


def test_cells_of_the_parts_that_nobody_ran_are_not_told_as_the_sweep_s() -> None:
    """A page of a complete sweep said that 20 of 60 cells had not been run."""
    trials = sweep()
    gap = trials[trials["finetuning"] != "trades-scratch"]
    (note,) = parts(gap, METRIC).notes
    assert note.startswith("Of fine-tuning's parts: 4 of 36 cells were run at no seed")
    assert parts(trials, METRIC).notes == ()


def test_the_policy_may_lead_and_a_tie_is_undecided() -> None:
    assert parts(sweep(objective=0.1, policy=2.0), METRIC).parts[0] == "policy"
    tie = parts(sweep(objective=0.0, policy=0.0, noise=0.02), METRIC)
    assert not tie.decided
    assert tie.sentence.startswith("Which of fine-tuning's parts matters most for PGD-20 accuracy")


def test_levels_that_are_not_crossed_carry_no_parts() -> None:
    trials = sweep()
    with pytest.raises(AnalysisError, match="fewer than two of its parts"):
        parts(trials[trials["objective"] == "pgd"], METRIC)
    diagonal = trials[trials["finetuning"].isin(["pgd-finetune", "trades-scratch"])]
    with pytest.raises(AnalysisError, match=r"fewer than two|not crossed"):
        parts(diagonal, METRIC)
    with pytest.raises(AnalysisError, match="at least 3 seeds, and there are 2"):
        parts(sweep(seeds=2), METRIC)


def test_flags_are_in_the_verdict() -> None:
    sound = sweep()
    assert results.verdict(sound, METRIC).doubts == ""
    few = sound.copy()
    few.loc[few.index[[3, 5, 9]], "flags"] = ["transfer", "transfer, large-eps", "collapsed"]
    found = results.verdict(few, METRIC)
    assert found.flags == {"transfer": 2, "large-eps": 1, "collapsed": 1}
    assert found.flagged == 3
    assert found.doubts == (
        "3 trials are flagged (collapsed 1, large-eps 1, transfer 2): the robust accuracy may be "
        "overstated there. Without them the conclusion is the same."
    )
    assert found.difference == results.verdict(sound, METRIC).difference


def test_a_verdict_that_rests_on_flagged_trials_says_so() -> None:
    trials = sweep()
    trials["flags"] = np.where(trials["objective"] == "standard", None, "transfer")
    found = results.verdict(trials, METRIC)
    assert found.winner == "finetuning"
    assert found.without_flagged in ("finetuning", None)
    flat = trials.copy()
    flat.loc[flat["flags"].isna(), METRIC] = 0.4 + 0.2 * (flat["criterion"] == "l1")
    found = results.verdict(flat.assign(**{METRIC: flat[METRIC] + 0.3 * flat["flags"].notna()}),
                            METRIC)  # fmt: skip
    assert found.winner == "finetuning"
    assert found.without_flagged == "criterion"
    assert found.doubts.endswith("Without them, criterion matters more.")
    everything = trials.assign(flags="collapsed")
    assert results.verdict(everything, METRIC).doubts.endswith("the data carry no verdict.")
