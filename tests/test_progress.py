"""The progress display: counts, rate and time left, as lines and as a picture."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from orchestrator.cli import progress
from orchestrator.cli.progress import Display
from orchestrator.planning.attempt import AttemptResult, Beat
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.sweepfile.model import parse_sweep

from conftest import sweep_text


@pytest.fixture
def plan() -> Plan:
    return make_plan(parse_sweep(sweep_text()))


def display(plan: Plan, terminal: bool = False) -> tuple[Display, io.StringIO]:
    text = io.StringIO()
    shown = Display(plan, Console(file=text, force_terminal=terminal, width=120, soft_wrap=True))
    shown.tally.expect(tuple(plan.jobs), done=0, failed=0)
    return shown, text


def test_it_counts_what_ends(plan: Plan) -> None:
    shown, text = display(plan)
    with shown:
        for job in plan.jobs.values():
            shown.started(job)
            shown.ended(job, AttemptResult(job.key, "done", seconds=1.0), ())
    last = text.getvalue().splitlines()[-1]
    assert "8/8 trials · 2/2 dense · 4/4 prune" in last
    assert "left" not in last
    assert not shown.tally.running


def test_a_failed_parent_counts_every_trial_that_it_takes_along(plan: Plan) -> None:
    shown, text = display(plan)
    dense = next(job for job in plan.jobs.values() if job.kind == "dense")
    with shown:
        shown.started(dense)
        lost = {dense.key, *plan.descendants(dense.key)}
        shown.ended(dense, AttemptResult(dense.key, "failed", "boom"), lost)
    assert "failed: dense resnet8" in text.getvalue()
    assert "boom" in text.getvalue()
    assert "4 trials failed" in text.getvalue().splitlines()[-1]
    assert shown.tally.failed == {"dense": 1, "prune": 2, "trial": 4}


def test_a_repeated_attempt_is_no_failure(plan: Plan) -> None:
    shown, text = display(plan)
    job = next(iter(plan.jobs.values()))
    with shown:
        shown.ended(job, AttemptResult(job.key, "failed", "lost", "lost"), ())
    assert "1 attempt repeated" in text.getvalue()
    assert "failed" not in text.getvalue()


def test_trials_of_earlier_launches_count_as_done_but_not_in_the_rate(plan: Plan) -> None:
    shown, text = display(plan)
    shown.tally.expect((), done=5, failed=1)
    with shown:
        pass
    line = text.getvalue().splitlines()[-1]
    assert "5/14 trials" in line
    assert "1 trial failed" in line
    assert "jobs/" not in line


def test_the_time_left_follows_the_kinds_own_rates(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, _ = display(plan)
    tally = shown.tally
    assert tally.seconds_left() is None
    now = tally.began
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    denses = [job for job in plan.jobs.values() if job.kind == "dense"]
    now = tally.began + 20  # one worker: 20 seconds for the two dense networks
    for job in denses:
        shown.ended(job, AttemptResult(job.key, "done", seconds=10.0), ())
    weights = {kind: sum(j.weight for j in plan.jobs.values() if j.kind == kind)
               for kind in ("dense", "prune", "trial")}  # fmt: skip
    expected = 20 / weights["dense"] * (weights["prune"] + weights["trial"])
    assert tally.seconds_left() == pytest.approx(expected)


def test_on_a_terminal_it_is_one_picture(plan: Plan) -> None:
    shown, text = display(plan, terminal=True)
    with shown:
        for job in list(plan.jobs.values())[:3]:
            shown.started(job)
    picture = text.getvalue()
    for words in ("dense", "prune", "trial", "0/8", "running:"):
        assert words in picture


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.0, "2.0 jobs/s"), (80.0, "6.0 jobs/min"), (28800.0, "1.0 jobs/h")]
)
def test_a_rate_has_a_unit_in_which_it_says_something(
    seconds: float, words: str, plan: Plan
) -> None:
    tally = display(plan)[0].tally
    assert tally.rate == ""
    tally.jobs = 8
    tally.began -= seconds
    assert tally.rate == words


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_terminal_cuts_the_time_left(width: int, plan: Plan) -> None:
    """At 80 columns the rate and the time left were off the screen, of all that is told."""
    shown, _ = display(plan)
    trial = next(iter(plan.trials.values()))
    done = next(job for job in plan.jobs.values() if job.kind == "dense")
    shown.tally.began -= 3600
    shown.ended(done, AttemptResult(done.key, "done", seconds=3600.0), ())
    epoch = {"loss": 2.0, "validation_accuracy": 0.25, "validation_robust": 0.125}
    beat = Beat(trial.key, 1, "host", 1, doing="epoch 1/20", epoch=epoch, seconds_left=65)
    shown.heard(trial, beat)
    shown.started(done)
    shown.console = Console(file=io.StringIO(), width=width, soft_wrap=True)
    with shown.console.capture() as picture:
        shown.console.print(shown._picture())
    text = picture.get()
    assert max(map(len, text.splitlines())) <= width
    for words in ("all ", " %", "1:00:00 gone", "jobs/h", "left", "1:05", "12.5 %", "starting: 1"):
        assert words in text
    assert ("25.0 %" in text) == (width > 60)


@pytest.mark.parametrize(("seconds", "words"), [(5, "0:05"), (65, "1:05"), (3725, "1:02:05")])
def test_clock(seconds: float, words: str) -> None:
    assert progress._clock(seconds) == words


def test_ten_thousand_failures_alike_are_a_few_lines_and_a_picture_of_one_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = make_plan(parse_sweep(sweep_text(criteria="[random, l1, l2, lamp]", seeds="625")))
    monkeypatch.setattr(progress, "LINE_EVERY", 1e9)
    shown, text = display(plan)
    small, _ = display(make_plan(parse_sweep(sweep_text())))
    with shown:
        for key, job in plan.trials.items():
            shown.started(job)
            error = "boom" if job.labels["criterion"] != "l1" else "bang"
            shown.ended(job, AttemptResult(key, "failed", error, "error"), {key})
    assert len(plan.trials) == 5000
    assert text.getvalue().count("failed: trial") == 2 * progress.SAME_ERRORS
    assert text.getvalue().count("further ones like it are only counted") == 2
    assert "5000 trials failed" in text.getvalue().splitlines()[-1]
    pictures = []
    for which in (shown, small):
        console = Console(file=io.StringIO(), width=120)
        console.print(which._picture())
        pictures.append(console.file.getvalue().count("\n"))
    assert pictures[0] == pictures[1] <= 8
