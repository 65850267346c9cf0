"""Batches that are timed: their parts, and attacks that are stopped in time."""

from __future__ import annotations

import pytest
import torch

from orchestrator.driver import timing
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.planning.work import attack_passes
from orchestrator.sweepfile.model import parse_sweep
from orchestrator.worker import stopwatch
from orchestrator.worker.stopwatch import FIRST, LEAST, Bench, Meter
from prune_core.specs.settings import Threat
from prune_core.specs.stages import Dense, Sensitivity, dense_of

from conftest import sweep_text

WHOLE = Threat(eps=0.15)


def plan_of(**changes: str) -> Plan:
    return make_plan(parse_sweep(sweep_text(seeds="1", **changes)))


@pytest.fixture
def bench() -> Bench:
    """A network, on the CPU."""
    (dense, *_) = plan_of().jobs.values()
    assert isinstance(dense.stage, Dense)
    return Bench(dense.stage, "cpu")


def test_a_meter_counts_the_passes_of_an_attack_and_stops_it_late_enough() -> None:
    network = torch.nn.Flatten()
    meter = Meter(network, least=7, until=stopwatch.clock("cpu"), device="cpu")
    images = torch.rand(4, 1, 2, 2)
    meter(images)
    assert meter.passes == 4
    meter(images.requires_grad_())
    assert meter.passes == 4 + 4 * 1.5
    with pytest.raises(stopwatch.EnoughError):
        meter(images)


def test_a_short_attack_is_timed_whole_and_a_long_one_for_as_long_as_there_is_time(
    bench: Bench,
) -> None:
    short = bench.attack("fgsm", WHOLE, most=FIRST, until=0.0)
    assert (short.size, short.passes) == (FIRST, FIRST * attack_passes("fgsm"))
    assert short.whole
    long = bench.attack("square", WHOLE, most=FIRST, until=0.0)
    assert (long.size, long.whole) == (FIRST, False)
    assert LEAST * FIRST < long.passes < 2 * LEAST * FIRST < FIRST * attack_passes("square")
    assert min(long.seconds, short.seconds) > 0


def test_sensitivities_are_timed_on_few_images() -> None:
    plan = plan_of(allocations="[mrs, mrs-perturbation]")
    stages = [job.stage for job in plan.jobs.values() if isinstance(job.stage, Sensitivity)]
    assert {stage.estimator for stage in stages} == {"damage", "perturbation"}
    for stage in stages:
        timed = Bench(dense_of(stage), "cpu").sensitivity(stage, until=0.0)
        assert timed.size == min(FIRST, stage.estimation.samples)
        assert timed.seconds > 0
        assert timed.passes < stage.estimation.samples * 100


def test_a_taught_training_is_timed_with_a_teacher(bench: Bench) -> None:
    plan = plan_of(finetuning="{taught: {objective: ard, policy: finetune, epochs: 1, lr: 0.01}}")
    (trial, *_) = plan.trials.values()
    (trained,) = trial.stage.trainings
    timed = bench.training(trained, until=0.0)
    assert timed is not None
    assert timed.passes == trained.training.passes * FIRST
    assert timed.seconds > 0


def test_what_takes_longest_is_timed_first_and_no_time_is_spent_on_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timing, "IN_ALL", -1.0)
    plan = plan_of(evaluation="{attacks: [fgsm, autoattack], sanity_images: 0}")
    (only,) = timing.timed(plan, plan.jobs, "cpu")
    assert only["kind"] == "probe autoattack"
