"""Launching: what is left to do, done by an executor, with the tables as the only truth.

A relaunch is a set difference between the plan and what storage holds; there is no resume mode.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.artifacts import Artifacts
from orchestrator.plan import Job, Plan
from orchestrator.rows import failed_row, job_row, now
from orchestrator.scheduler import Scheduler
from prune_core.stages import Trial
from results.storage import Storage
from results.store import Tables

RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # twice as fast; the tables are the truth
    "TUNE_MAX_PENDING_TRIALS_PG": "8",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a job without a GPU sees none
    "OMP_NUM_THREADS": "1",
}
"""Read by Ray at its import."""


class ResourceError(ValueError):
    """Resources that the machine or the cluster does not have; a job would wait for ever."""


@dataclass(frozen=True)
class Outcome:
    """How one attempt at a job ended."""

    key: str
    status: str
    error: str | None = None
    retry: bool = False
    """Whether another attempt may end better."""
    seconds: float = 0.0


class Progress(Protocol):
    """Is told what goes on."""

    def started(self, job: Job) -> None:
        """Note that a job was handed out."""

    def ended(self, job: Job, outcome: Outcome, lost: Collection[str]) -> None:
        """Note that an attempt ended, and which jobs failed with it for good."""


KEEPABLE = ("dense", "rewind", "scores", "prune")
"""Stages whose artifacts other jobs start from, and which a sweep need not keep."""


@dataclass(frozen=True)
class State:
    """What storage holds of a plan."""

    done: frozenset[str]
    """Trials whose row says done."""
    failed: frozenset[str]
    """Trials whose row says failed."""
    needed: tuple[str, ...]
    """Jobs to do for the trials that are left."""


def survey(plan: Plan, storage: Storage, retry_failed: bool = False) -> State:
    """Compare a plan with storage; failed trials count as left only with ``retry_failed``."""
    rows = Tables(storage).arrow("trials", ["trial_id", "status"]).to_pylist()
    status = {row["trial_id"]: row["status"] for row in rows}
    done = frozenset(key for key in plan.trials if status.get(key) == "done")
    failed = frozenset(key for key in plan.trials if status.get(key) == "failed")
    over = done if retry_failed else done | failed
    artifacts = Artifacts(storage)
    needed: set[str] = set()
    stack = [key for key in plan.trials if key not in over]
    while stack:
        key = stack.pop()
        if key in needed:
            continue
        needed.add(key)
        parents = [plan.jobs[parent] for parent in plan.jobs[key].parents]
        stack += [
            p.key for p in parents if p.key not in needed and not artifacts.has(p.kind, p.key)
        ]
    return State(done, failed, tuple(key for key in plan.jobs if key in needed))


@dataclass
class Launch:
    """One run of a plan, as an executor sees it: jobs to take, outcomes to report."""

    plan: Plan
    storage: Storage
    device: str
    progress: Progress
    retry_failed: bool = False

    def __post_init__(self) -> None:
        self.state = survey(self.plan, self.storage, self.retry_failed)
        self.tables = Tables(self.storage)
        self._artifacts = Artifacts(self.storage)
        self._started: dict[str, datetime] = {}
        tried = Counter(self.tables.arrow("jobs", ["key"])["key"].to_pylist())
        self.scheduler = Scheduler(self.plan, self.state.needed, tried)

    @property
    def keep(self) -> tuple[str, ...]:
        """The stages whose networks stay in storage."""
        return self.plan.sweep.keep

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.scheduler.finished

    def take(self) -> Job | None:
        """Return the next job to start, or None while everything left waits."""
        job = self.scheduler.next()
        if job is not None:
            self._started[job.key] = now()
            self.progress.started(job)
        return job

    def report(self, outcome: Outcome) -> None:
        """Take in how an attempt ended: retries, failed rows, networks no longer needed."""
        job = self.plan.jobs[outcome.key]
        if outcome.status == "done":
            self.scheduler.succeed(job.key)
            self._drop_unneeded(job)
            self.progress.ended(job, outcome, lost=())
            return
        lost = self.scheduler.fail(job.key, outcome.error or "unknown", outcome.retry)
        for key, error in lost.items():
            stage = self.plan.jobs[key].stage
            if isinstance(stage, Trial):
                row = failed_row(stage, self.plan.jobs[key].labels or {}, error)
                self.tables.write("trials", key, [row], over="failed")
        self.progress.ended(job, outcome, lost.keys())

    def lose(self, key: str, error: str) -> None:
        """Take in that a job's worker died; it left no row, so that is written here."""
        job = self.plan.jobs[key]
        attempt = self.scheduler.attempt(key)
        lost = job_row(job, attempt, self._started[key], status="failed", error=error)
        self.tables.write("jobs", f"{key}-{attempt}", [lost])
        self.report(Outcome(key, "failed", error, retry=True))

    def _drop_unneeded(self, job: Job) -> None:
        """Drop networks that the file does not keep; never one that was there before."""
        ended = self.scheduler.done | self.state.done | self.scheduler.failed.keys()
        for key in self.scheduler.done.intersection(job.parents):
            parent = self.plan.jobs[key]
            droppable = parent.kind in KEEPABLE and parent.kind not in self.keep
            if droppable and all(child in ended for child in self.plan.children[key]):
                self._artifacts.drop(parent.kind, key)


def record_plan(plan: Plan, storage: Storage, text: str) -> None:
    """Write the sweep's folder: the file as run, and the plan with its trial ids."""
    name = plan.sweep.name
    storage.write(text.encode(), "sweeps", name, "sweep.yaml")
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(plan.rows()), buffer)
    storage.write(buffer.getvalue().to_pybytes(), "sweeps", name, "plan.parquet")


def run(launch: Launch, executor: str, workers: int | None, address: str | None) -> None:
    """Run everything that is left, with ``ray`` or ``inline``."""
    if executor == "inline":
        from orchestrator.inline import execute as execute_inline

        execute_inline(launch)
        return
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from orchestrator.ray_executor import execute

    execute(launch, workers, address)
