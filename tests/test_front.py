"""The first screen of the page: one sentence, the shares that it stands on, what was run."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

import results
from results.report import front
from results.report.summary import Summary, summarise
from results.statistics.design.intervals import Estimate
from results.statistics.design.words import percent

from simulated import simulated


@pytest.fixture(scope="module")
def summary() -> Summary:
    return summarise(simulated())


def test_the_answer_has_two_numbers_and_no_more(summary: Summary) -> None:
    found = summary.verdicts[0]
    shares = {name: percent(found.shares[name].value) for name in ("finetuning", "criterion")}
    said = front.answer(found)
    assert said.startswith("The fine-tuning: ")
    assert said.count(" %") == 2
    assert all(share in said for share in shares.values())
    other = front.answer(replace(found, winner="criterion"))
    assert other.startswith("The criterion: it explains " + shares["criterion"])


def test_what_is_undecided_or_refused_is_said_first(summary: Summary) -> None:
    found = replace(summary.verdicts[0], winner="undecided")
    assert front.answer(found).startswith("These data do not decide it: ")
    refused = replace(found, refusals=("level l1 collapses",))
    assert front.answer(refused) == "These data carry no verdict, since level l1 collapses."


def test_noise_is_called_noise(summary: Summary) -> None:
    """Tiny networks at chance had shares of 0 and 0 %, and a difference of -100 %."""
    found = replace(summary.verdicts[0], winner="undecided", difference=-3.0)
    assert front.answer(found).endswith("networks hardly differ by more than noise.")
    assert "hardly differ by more than noise" in found.finding
    assert "%" not in front.answer(found) + found.finding
    assert "moves the difference" not in found.robustness


def test_where_there_is_no_verdict_nothing_is_said_of_how_well_it_holds(summary: Summary) -> None:
    refused = replace(summary.verdicts[0], refusals=("level l1 collapses",))
    assert "conclusion" not in refused.robustness
    assert front.by_metric((refused,)).loc[0, "depends_on"] == "\N{EN DASH}"


@pytest.mark.parametrize("count", [3, 12, 40])
def test_a_sweep_that_has_just_begun_has_a_page_without_warnings(count: int) -> None:
    """The page that is served while a sweep runs; warnings are errors here."""
    begun = simulated()
    begun.__dict__["trials"] = begun.trials.sample(count, random_state=0)
    found = summarise(begun)
    if count == 3:
        assert "level_effects" not in found.tables  # they were drawn, all of them zero
        assert sum("No verdict on" in caveat for caveat in found.caveats) == 1


def test_bars_are_the_verdict_s_shares_and_none_without_width(summary: Summary) -> None:
    found = summary.verdicts[0]
    drawn = front.bars(found, summary.tables["variance_shares"])
    assert [(bar.factor, bar.stage) for bar in drawn] == [
        ("fine-tuning", "after fine-tuning"),
        ("criterion", "after fine-tuning"),
        ("criterion", "before fine-tuning"),
    ]
    for bar, name in zip(drawn, ("finetuning", "criterion"), strict=False):
        assert bar.share == pytest.approx(100 * max(found.shares[name].value, 0))
        assert 0 <= bar.low < bar.high <= 100
    flat = replace(found, shares=found.shares | {"criterion": Estimate(0.1, 0.1, 0.1)})
    assert [bar.factor for bar in front.bars(flat, None)] == ["fine-tuning"]


def test_what_was_run_is_in_the_rows(summary: Summary) -> None:
    seen = summary.evidence.trials
    trials = seen.assign(norm="linf", eps=8 / 255, dense_clean=0.9, version="0.1.0")
    trials.loc[trials["architecture"] == "vgg8", "dense_clean"] = 0.8
    run = dict(front.what_was_run(trials, summary.evidence.metric, 200))
    assert run["data set"] == "digits, 200 test images"
    assert run["networks"].startswith("resnet8 (dense: clean 90.0 %")
    assert "; vgg8 (dense: clean 80.0 %" in run["networks"]
    assert run["threat"] == "linf, eps 8/255"
    assert run["criteria"] == "l1, lamp, random"
    assert run["seeds"] == "3 (0, 1, 2)"
    assert run["fine-tuning"] == "none (0 epochs), pgd (3 epochs), standard (3 epochs)"
    assert "clean" not in run["attacks"]  # it is none
    assert run["computed"].startswith("mrsweep 0.1.0")
    assert all(run.values())


def test_a_row_a_metric_with_what_would_change_it(summary: Summary) -> None:
    table = front.by_metric(summary.verdicts)
    assert list(table["metric"]) == [found.metric for found in summary.verdicts]
    assert set(table["more"]) <= {"fine-tuning", "criterion", "undecided", "no verdict"}
    first = results.verdict(summary.evidence.trials, summary.evidence.metric)
    assert isinstance(table, pd.DataFrame)
    assert table.loc[0, "more"] == front.NAMES[first.winner]
