"""The first screen of the page: one sentence, the shares that it stands on, what was run."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import results
from orchestrator.cli.reporting import _said
from results.report import front, ratios
from results.report.page import make_report
from results.report.summary import Summary, summarise
from results.statistics.design.intervals import Estimate
from results.statistics.design.words import MINUS, percent

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
    short = dict(front.what_was_run(trials.replace({"epochs": {3: 1}}), summary.evidence.metric, 1))
    assert short["fine-tuning"] == "none (0 epochs), pgd (1 epoch), standard (1 epoch)"
    assert run["computed"].startswith("mrsweep 0.1.0")
    assert all(run.values())


def test_a_row_a_metric_with_what_would_change_it(summary: Summary) -> None:
    table = front.by_metric(summary.verdicts)
    assert list(table["metric"]) == [found.metric for found in summary.verdicts]
    assert set(table["more"]) <= {"fine-tuning", "criterion", "undecided", "no verdict"}
    first = results.verdict(summary.evidence.trials, summary.evidence.metric)
    assert isinstance(table, pd.DataFrame)
    assert table.loc[0, "more"] == front.NAMES[first.winner]


def of_one_criterion(*more: str) -> Summary:
    """Return a sweep of ratios: one criterion, several allocations."""
    loaded = simulated()
    mine = loaded.trials[loaded.trials["criterion"] == "l1"]
    others = [mine[mine["allocation"] == "mrs"].assign(allocation=name) for name in more]
    for number, other in enumerate(others):
        other["trial_id"] += f"-{number}"
    loaded.__dict__["trials"] = pd.concat([mine, *others], ignore_index=True)
    return summarise(loaded)


def test_a_sweep_of_ratios_is_asked_about_ratios(undrawn: None) -> None:
    """It was asked about criteria, of which it had one, and "carried no verdict yet"."""
    summary = of_one_criterion("erk", "size")
    page = make_report(summary, "ratios")["index.html"].decode()
    assert f"<h1>{ratios.OF_RATIOS}</h1>" in page
    said = re.search(r'<p class="answer">(.*?)</p>', page)
    assert said is not None
    assert re.match(r"Of 3 kinds of ratios together, .* by .*\d points of PGD-20 accuracy", said[1])
    assert page.count('<table class="bars gaps">') == 1
    assert "ratios change PGD-20 accuracy by" not in page  # a sentence an allocation
    assert _said(summary)[0] == (html.unescape(said[1]).replace("\N{NO-BREAK SPACE}", " "), "bold")


def test_what_ratios_add_in_words_and_bars() -> None:
    rows = pd.DataFrame({"metric": "finetuned_pgd_20", "factor": "all", "pairs": 24, "seeds": 3,
                         "allocation": ["a", "b", "c"], "mean": [1.5, 1.0, -0.2],
                         "low": [1.0, -0.3, -3.3], "high": [1.9, 2.2, 2.8]})  # fmt: skip
    rows = ratios.against_uniform(rows, "finetuned_pgd_20")
    assert ratios.answer(rows) == (
        "Of 3 kinds of ratios together, 1 is told apart from uniform ones: a, by 1.5 points of "
        "PGD-20 accuracy (95 % interval, taken alone, 1.0 to 1.9)."
    )
    assert "none is told apart" in ratios.answer(rows[1:])
    near = rows.assign(low=[0.4, -0.3, -3.3], high=[2.6, 2.2, 2.8])  # alone, and not of three
    assert "1 is told apart" in ratios.answer(near[:1])
    assert "none is told apart" in ratios.answer(near)
    assert ratios.answer(rows.assign(low=np.nan, high=np.nan)) == (
        "With one seed there is no interval; furthest from uniform ratios lies a, by 1.5 points of "
        "PGD-20 accuracy."
    )
    drawn, ticks = ratios.gaps(rows)
    assert [tick for _, tick in ticks] == [f"{MINUS}4", f"{MINUS}2", "0", "2", "4"]
    assert (drawn[0].at, drawn[0].low) == (68.75, 62.5)
    assert all(0 <= gap.low <= gap.at <= gap.low + gap.width <= 100 for gap in drawn)
    wide, _ = ratios.gaps(rows.assign(low=-900.0, high=900.0))  # as two seeds may have it
    assert all(gap.low >= 0 and gap.low + gap.width <= 100 for gap in wide)


def test_levels_that_change_a_conclusion_alike_are_told_together(summary: Summary) -> None:
    found = summary.verdicts[0]
    table = found.without.assign(winner=found.winner)
    table.loc[[0, 2], "winner"] = "undecided"
    named = table.loc[[0, 2], ["factor", "level"]].to_numpy()
    levels = [f"{factor} {level}" for factor, level in named]
    unsure = replace(found, without=table)
    assert unsure.hangs_on == f"without {levels[0]} or {levels[1]}, it is undecided"
    assert front.by_metric((unsure,)).loc[0, "depends_on"] == unsure.hangs_on
    assert replace(found, without=table.assign(winner=found.winner)).hangs_on == ""


def test_the_answer_on_one_data_set_is_a_sentence(summary: Summary) -> None:
    unsure = replace(summary.verdicts[0], winner="undecided")
    one, other = front.alone({"digits": summary.verdicts, "cifar10": (unsure,)})
    assert one.startswith("On digits alone, the fine-tuning explains ")
    assert other.startswith("On cifar10 alone, these data do not decide it: ")
