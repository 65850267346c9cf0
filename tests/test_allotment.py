"""Allotments of machines: what the file says, what was measured, and more after memory ran out."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.driver.allotment import Allotments, likeness
from orchestrator.driver.launch import Launch
from orchestrator.planning.attempt import Allotment, AttemptResult, Cause
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.sweepfile.model import SweepFileError, parse_sweep
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
          "dataset": likeness(dense)[3], "peak_memory": 19 * GB, "device_memory": 80 * GB}]
    )  # fmt: skip
    assert allotments.of(dense).gpus == pytest.approx(0.3)


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
