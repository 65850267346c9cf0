"""The scheduler, without an executor."""

from __future__ import annotations

import pytest

from orchestrator.driver.scheduler import Scheduler
from orchestrator.planning.plan import Job, Plan, make_plan
from orchestrator.sweepfile.model import parse_sweep

from conftest import sweep_text


@pytest.fixture
def plan() -> Plan:
    return make_plan(parse_sweep(sweep_text(allocations="[uniform, mrs]")))


def test_jobs_wait_for_all_their_parents(plan: Plan) -> None:
    scheduler = Scheduler(plan, plan.jobs)
    done: set[str] = set()
    while not scheduler.finished:
        job = scheduler.next()
        assert set(job.parents) <= done
        scheduler.succeed(job.key)
        done.add(job.key)
    assert done == set(plan.jobs)
    assert scheduler.next() is None


def test_what_starts_the_longest_path_starts_first(plan: Plan) -> None:
    scheduler = Scheduler(plan, plan.jobs)
    first = [scheduler.next() for _ in range(2)]
    assert [job.kind for job in first] == ["dense", "dense"]
    assert scheduler.next() is None  # everything else waits
    scheduler.succeed(first[0].key)
    ready = []
    while (job := scheduler.next()) is not None:
        ready.append(plan.path_weights[job.key])
    assert ready == sorted(ready, reverse=True)


def test_a_job_that_is_tried_again_is_handed_out_again(plan: Plan) -> None:
    scheduler = Scheduler(plan, plan.jobs, attempts=dict.fromkeys(plan.jobs, 2))
    job = scheduler.next()
    for attempt in (1, 2):
        assert scheduler.attempt(job.key) == 2 + attempt  # two by an earlier launch
        scheduler.again(job.key)
        assert scheduler.next() is job
    assert scheduler.fail(job.key, "lost")[job.key] == "lost"


def test_the_next_job_is_the_most_urgent_that_fits(plan: Plan) -> None:
    """Large jobs that wait for room do not keep small ones from running."""
    scheduler = Scheduler(plan, plan.jobs, alike=lambda job: job.kind)
    for job in [scheduler.next(), scheduler.next()]:
        scheduler.succeed(job.key)
    asked: list[str] = []

    def small(job: Job) -> bool:
        asked.append(job.kind)
        return job.kind == "prune"

    first = scheduler.next(small)
    assert first.kind == "prune"
    assert len(asked) == len(set(asked))  # one of a kind, however many are ready
    waiting = {job.kind: count for job, count in scheduler.ready()}
    assert waiting == {"sensitivity": 4, "prune": 3}
    assert scheduler.next(lambda _: False) is None
    assert scheduler.next().kind == "sensitivity"


def test_a_failed_job_takes_along_what_needs_it_and_nothing_else(plan: Plan) -> None:
    scheduler = Scheduler(plan, plan.jobs)
    broken, fine = scheduler.next(), scheduler.next()
    lost = scheduler.fail(broken.key, "boom")
    assert set(lost) == {broken.key, *plan.descendants(broken.key)}
    child = next(key for key in lost if key != broken.key)
    assert lost[child] == f"its dense stage {broken.key} failed: boom"
    scheduler.succeed(fine.key)
    while (job := scheduler.next()) is not None:
        scheduler.succeed(job.key)
    assert scheduler.finished
    assert scheduler.done == set(plan.jobs) - set(lost)


def test_a_parent_that_is_done_already_is_not_waited_for(plan: Plan) -> None:
    trial = next(iter(plan.trials))
    scheduler = Scheduler(plan, [trial])
    assert scheduler.next().key == trial
    scheduler.succeed(trial)
    assert scheduler.finished


def test_a_job_is_handed_out_once(plan: Plan) -> None:
    scheduler = Scheduler(plan, plan.jobs)
    seen = []
    while not scheduler.finished:
        batch = []
        while (job := scheduler.next()) is not None:
            batch.append(job.key)
        assert batch
        seen += batch
        for key in batch:
            scheduler.succeed(key)
    assert sorted(seen) == sorted(plan.jobs)
