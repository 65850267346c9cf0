"""The verdict: which matters more, by how much, on what it hangs, and when there is none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import results
from results.errors import AnalysisError

from test_analysis import sweep


def test_the_verdict_says_which_and_by_how_much() -> None:
    found = results.verdict(sweep())
    assert found.winner == "finetuning"
    assert found.low < found.difference < found.high
    assert found.difference == pytest.approx(
        found.shares["finetuning"].value - found.shares["criterion"].value
    )
    assert "fine-tuning matters more than the criterion" in found.sentence
    assert "PGD-20 accuracy" in found.sentence
    assert "between 36 cells at 4 seeds" in found.sentence
    assert found.seeds_to_decide is None
    assert len(found.without) == 10
    assert "stays the same when any one level is left out (10 tried)" in found.robustness


def test_where_no_level_can_be_left_out_nothing_is_claimed() -> None:
    two = sweep().query("criterion != 'lamp' and finetuning != 'none' and sparsity == 0.5")
    found = results.verdict(two[two["architecture"] == "vgg8"])
    assert found.without.empty
    assert "No level can be left out" in found.robustness


def test_the_verdict_can_go_the_other_way() -> None:
    found = results.verdict(sweep(finetuning=0.0))
    assert found.winner == "criterion"
    assert "the criterion matters more than fine-tuning" in found.sentence


def test_an_undecided_verdict_says_how_many_seeds_would_do() -> None:
    found = results.verdict(sweep(seeds=3, noise=0.15, finetuning=0.25, seed=2))
    assert found.winner == "undecided"
    assert "do not decide" in found.sentence
    assert found.seeds_to_decide > 3


def test_a_verdict_that_hangs_on_one_level_says_so() -> None:
    trials = sweep(noise=0.004)
    flat = trials["finetuning"] != "none"  # standard and pgd alike: all rests on "none"
    trials.loc[flat, "finetuned_pgd_20"] -= trials.loc[flat, "finetuning"].map(
        {"standard": 0.0, "pgd": 0.1}
    )
    found = results.verdict(trials)
    assert found.winner == "finetuning"
    assert any("without fine-tuning none" in text for text in found.depends_on)
    assert "depends on single levels" in found.robustness


def test_cells_that_differ_by_noise_alone_carry_no_shares() -> None:
    trials = sweep(noise=0)
    turned = np.where(trials["seed"] % 2, -1, 1)  # what one seed says, the next one denies
    with pytest.raises(AnalysisError, match="do not differ by more than noise"):
        results.verdict(trials.assign(finetuned_pgd_20=turned * trials["finetuned_pgd_20"]))


def confounded(trials: pd.DataFrame) -> pd.DataFrame:
    """Every criterion with a fine-tuning of its own."""
    own = {"none": "l1", "pgd": "lamp", "standard": "random"}
    return trials[trials["criterion"] == trials["finetuning"].map(own)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(status="failed"), "no finished trial"),
        (lambda t: t.drop(columns="finetuned_pgd_20"), "no metric 'finetuned_pgd_20'"),
        (lambda t: t.assign(finetuned_pgd_20=np.nan), "no finished trial"),
        (lambda t: t.assign(finetuned_pgd_20=np.inf), "no finished trial"),
        (lambda t: t.iloc[:0], "no finished trial"),
        (confounded, "too many cells are missing to tell the effect of"),
        (lambda t: t[t["seed"] == 0], "at least 3 seeds, and there is 1"),
        (lambda t: t[t["seed"] < 2], "at least 3 seeds, and there are 2"),
        (lambda t: t[t["criterion"] == "l1"], "criterion has one level alone"),
        (lambda t: pd.concat([t, t]), "agree in"),
    ],
)
def test_data_that_carry_no_verdict_say_why(change, message: str) -> None:
    with pytest.raises(AnalysisError, match=message):
        results.verdict(change(sweep()))
