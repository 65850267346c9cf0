"""Allotments of machines: what the file says, what was measured, and more after memory ran out."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.cli import running
from orchestrator.cli.running import How
from orchestrator.driver.allotment import Allotments, likeness
from orchestrator.driver.foresight import foresee
from orchestrator.driver.launch import Launch
from orchestrator.planning.attempt import Allotment, AttemptResult, Cause
from orchestrator.planning.plan import Job, Plan, make_plan
from orchestrator.sweepfile.model import SweepFileError, parse_sweep
from orchestrator.worker.memory import CONTEXT
from orchestrator.worker.peaks import jobs
from results.tables.storage import Storage

from conftest import Silent, sweep_text

GB = 10**9


def planned(resources: str) -> Plan:
    return make_plan(parse_sweep(sweep_text(resources=resources)))


def job_of(plan: Plan, kind: str, finetuning: str = "standard"):
    jobs = (job for job in plan.jobs.values() if job.kind == kind)
    return next(
        j for j in jobs if (j.labels or {"finetuning": finetuning})["finetuning"] == finetuning
    )


def test_the_narrowest_rule_holds() -> None:
    plan = planned(
        "{cpus: 2, gpus: 0.5, memory: 4 GiB, time_limit: 12h, "
        "architectures: {resnet8: {gpus: 0.25, accelerator: A100}}, "
        "kinds: {dense: {gpus: 1, accelerator: H100, time_limit: 2d}, prune: {gpus: 0}}}"
    )
    allotments = Allotments(plan.sweep.resources, on_gpu=True)
    assert allotments.of(job_of(plan, "dense")) == Allotment(2, 1, 4 * 2**30, "H100")
    assert allotments.of(job_of(plan, "prune")) == Allotment(2, 0, 4 * 2**30, None)
    assert allotments.of(job_of(plan, "trial")) == Allotment(2, 0.25, 4 * 2**30, "A100")
    assert allotments.takes(job_of(plan, "dense")).time_limit == 2 * 86_400
    assert allotments.takes(job_of(plan, "trial")).time_limit == 12 * 3600
    assert Allotments(plan.sweep.resources, on_gpu=False).of(job_of(plan, "dense")).gpus == 0


def test_auto_is_a_whole_gpu_until_measured_then_what_was_needed() -> None:
    plan = planned("{gpus: auto}")
    allotments = Allotments(plan.sweep.resources, on_gpu=True)
    trial, dense = job_of(plan, "trial"), job_of(plan, "dense")
    assert allotments.of(trial).gpus == 1
    allotments.learn(likeness(trial), 10 * GB, 80 * GB)
    assert allotments.of(trial).gpus == pytest.approx(0.2)  # 1.25 x 10 / 80, in steps
    allotments.learn(likeness(trial), 5 * GB, 80 * GB)
    assert allotments.of(trial).gpus == pytest.approx(0.2)  # the highest peak holds
    assert allotments.of(dense).gpus == 1  # of another kind
    assert allotments.of(job_of(plan, "trial", "none")).gpus == 1  # trains nothing
    allotments.learn_all(
        [{"kind": "dense", "architecture": "resnet8", "batch_size": likeness(dense)[2],
          "dataset": likeness(dense)[3], "peak_memory": peak * GB, "device_memory": 80 * GB,
          "status": status} for peak, status in ((19, "done"), (70, "failed"))]
    )  # fmt: skip
    assert allotments.of(dense).gpus == pytest.approx(0.3)


def test_until_something_is_measured_a_share_is_what_is_foreseen() -> None:
    plan = planned("{gpus: auto}")
    allotments = Allotments(plan.sweep.resources, on_gpu=True)
    dense = job_of(plan, "dense")
    assert allotments.unknown(dense)
    allotments.foresee(likeness(dense), 6 * GB)
    assert allotments.of(dense).gpus == 1  # of how large a GPU is not known
    allotments.see(80 * GB)
    assert allotments.of(dense).gpus == pytest.approx(0.1)
    allotments.see(24 * GB)
    assert allotments.of(dense).gpus == pytest.approx(0.35)  # the smallest holds
    done = AttemptResult(dense.key, "done", peak_memory=2 * GB, device_memory=24 * GB)
    allotments.take_in(dense, done)
    assert allotments.of(dense).gpus == pytest.approx(0.15)  # what was measured holds
    assert not allotments.unknown(dense)


@pytest.mark.parametrize(("cause", "share"), [("memory", 1.0), ("system", 0.35)])
def test_a_share_that_was_foreseen_too_small_is_forgotten(cause: Cause, share: float) -> None:
    plan = planned("{gpus: auto}")
    allotments = Allotments(plan.sweep.resources, on_gpu=True)
    dense = job_of(plan, "dense")
    allotments.see(24 * GB)
    allotments.foresee(likeness(dense), 6 * GB)
    failed = AttemptResult(dense.key, "failed", "", cause, 1.0, GB, 24 * GB)
    allotments.take_in(dense, failed)
    assert allotments.of(dense).gpus == pytest.approx(share)  # nor is its peak what others need


def test_jobs_that_nothing_is_known_of_are_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(parse_sweep(sweep_text(resources="{gpus: auto}", criteria="[taylor]")))
    kinds = [job_of(plan, kind) for kind in ("dense", "prune", "trial", "scores")]
    dense, prune, trial, scores = kinds
    allotments = Allotments(plan.sweep.resources, on_gpu=True)
    allotments.learn(likeness(prune), 2 * GB, 20 * GB)

    def peak(job: Job) -> int:
        assert job is not prune  # which was measured
        if job is trial:
            raise ValueError("it looks at a tensor")
        return 2 * GB

    monkeypatch.setattr(jobs, "job_peak", peak)
    (told,) = foresee(kinds, allotments)
    assert "trial resnet8 is not predicted: ValueError('it looks at a tensor')" in told
    share = math.ceil(1.25 * (2 * GB + CONTEXT) / (20 * GB) / 0.05) * 0.05
    assert allotments.of(dense).gpus == allotments.of(scores).gpus == pytest.approx(share)
    assert allotments.of(trial).gpus == 1


def test_of_scores_that_are_alike_every_criterion_is_predicted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = make_plan(
        parse_sweep(
            sweep_text(
                resources="{gpus: auto}",
                criteria="[snip, taylor, synflow]",
                sparsities="[0.5, 0.8]",
            )
        )
    )
    asked: list[str] = []
    monkeypatch.setattr(jobs, "job_peak", lambda job: asked.append(job.stage.criterion) or GB)
    scores = [job for job in plan.jobs.values() if job.kind == "scores"]
    assert len(scores) == 2 * 4  # of two seeds; synflow's at each sparsity
    assert not [*foresee(scores, Allotments(plan.sweep.resources, on_gpu=True))]
    assert sorted(asked) == ["snip", "synflow", "taylor"]


@pytest.mark.parametrize(
    ("how", "share"),
    [
        (How(device="cuda"), 0.25),
        (How(device="cuda", address="there"), 1.0),  # how large its GPUs are, its jobs will tell
        (How(device="cuda", executor="inline"), 1.0),  # one job at a time
    ],
)
def test_a_run_begins_with_what_is_predicted(
    how: How, share: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    launch = Launch(planned("{gpus: auto}"), Storage(str(tmp_path)), "cuda", Silent())
    monkeypatch.setattr(running, "gpu_memory", lambda: 10 * GB)
    monkeypatch.setattr(jobs, "job_peak", lambda job: 2 * GB - CONTEXT)
    running._foresee(launch, how, Console(quiet=True))
    order = launch.take()
    assert order is not None
    assert order.allotment.gpus == pytest.approx(share)


def test_jobs_that_are_alike_get_what_the_largest_is_to_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = sweep_text(
        resources="{gpus: auto}",
        finetuning="{standard: {epochs: 1}, pgd: {epochs: 1, objective: pgd}}",
    )
    plan = make_plan(parse_sweep(text))
    first, second = job_of(plan, "trial"), job_of(plan, "trial", "pgd")
    assert likeness(first) == likeness(second)
    allotments = Allotments(plan.sweep.resources, on_gpu=True)
    allotments.see(100 * GB)
    asked: list[Job] = []

    def peak(job: Job) -> int:
        asked.append(job)
        return len(asked) * 10 * GB

    monkeypatch.setattr(jobs, "job_peak", peak)
    assert not [*foresee(plan.trials.values(), allotments)]
    assert len(asked) == 2  # one of each objective
    assert allotments.of(first).gpus == allotments.of(second).gpus == pytest.approx(0.3)


def test_jobs_on_larger_images_are_not_given_what_smaller_ones_took() -> None:
    plan = make_plan(
        parse_sweep(
            sweep_text(resources="{gpus: auto}", seeds="1")
            .replace("dataset: ", "datasets: [generated, ")
            .replace("test_per_class: 10}", "test_per_class: 10}]")
        )
    )
    small, large = (job for job in plan.jobs.values() if job.kind == "dense")
    allotments = Allotments(plan.sweep.resources, on_gpu=True)
    allotments.learn(likeness(small), 10 * GB, 80 * GB)
    assert allotments.of(small).gpus == pytest.approx(0.2)
    assert allotments.of(large).gpus == 1


def test_memory_that_ran_out_doubles_the_share() -> None:
    plan = planned("{gpus: 0.4, memory: 2 GB}")
    allotments, trial = Allotments(plan.sweep.resources, on_gpu=True), job_of(plan, "trial")
    assert [allotments.of(trial, grown).gpus for grown in range(3)] == [0.4, 0.8, 1.0]
    assert [allotments.of(trial, grown).memory for grown in range(2)] == [2 * GB, 4 * GB]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{gpus: 1.5}", "less than or equal to 1"),
        ("{memory: 4}", None),
        ("{memory: 4 parsecs}", "write 4 GiB; units: KiB"),
        ("{time_limit: soon}", "write 90m or 12h"),
        ("{kinds: {trials: {cpus: 1}}}", "'trial'"),
        ("{architectures: {resnet9: {cpus: 1}}}", "resnet9"),
        ("{cpu: 1}", "did you mean 'cpus'"),
    ],
)
def test_wrong_resources_are_refused(given: str, said: str | None) -> None:
    if said is None:
        assert planned(given).sweep.resources.memory == 4
        return
    with pytest.raises(SweepFileError, match=said):
        planned(given)


def test_a_job_whose_memory_ran_out_is_given_twice_as_much_once(tmp_path: Path) -> None:
    plan = planned("{memory: 1 GiB}")
    launch = Launch(plan, Storage(str(tmp_path)), "cpu", Silent())

    def attempts(result: str, cause: Cause | None) -> list[int | None]:
        """Take and end attempts until another job is handed out; return their memory."""
        order, given = launch.take(), []
        assert order is not None
        key = order.job.key
        while order is not None and order.job.key == key:
            given.append(order.allotment.memory)
            launch.report(AttemptResult(key, result, "no memory left", cause))
            order = launch.take()
        return given

    assert attempts("failed", "memory") == [2**30, 2**31]
