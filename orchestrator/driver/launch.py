"""Launching: what is left to do, done by an executor, with the tables as the only truth."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from orchestrator.driver.allotment import LEARNED, Allotments, likeness
from orchestrator.driver.following import Progress
from orchestrator.driver.places import Fits, everywhere
from orchestrator.driver.retries import Nodes, Retries
from orchestrator.driver.scheduler import Scheduler
from orchestrator.errors import OrchestratorError
from orchestrator.planning.attempt import Allotment, AttemptResult, Beat, Cause, Order
from orchestrator.planning.outsiders import digests_of
from orchestrator.planning.plan import Job, Plan
from orchestrator.state.artifacts import Artifacts
from orchestrator.state.evaluated import Evaluated
from orchestrator.state.leases import RECENT, Leases
from orchestrator.state.patience import patience_of
from orchestrator.state.progress import progress
from orchestrator.state.rows import failed_row, job_row, now
from orchestrator.state.survey import State, ended_meanwhile, survey
from orchestrator.state.upkeep import Upkeep
from prune_core.specs.stages import Trial
from results.errors import StorageIOError
from results.tables.storage import Storage
from results.tables.store import Tables

POLL = 2.0
"""Seconds between two looks at what another driver has in hand."""


class ResourceError(OrchestratorError):
    """Resources that the machine or the cluster does not have; a job would wait for ever."""


@dataclass
class Launch:
    """One run of a plan, as an executor sees it: orders to take, results to report."""

    plan: Plan
    storage: Storage
    device: str
    """What jobs compute on: ``cpu``, ``cuda`` or ``cuda:1``."""
    progress: Progress
    retry_failed: bool = False
    surveyed: State | None = None
    """What storage holds of the plan, where somebody has looked already."""
    could: Callable[[Allotment], bool] = field(default=everywhere, init=False)
    """Whether there is room for so much anywhere, when nothing else runs."""
    stopping: bool = field(default=False, init=False)
    """Whether no further job is to start."""

    def __post_init__(self) -> None:
        self.tables = Tables(self.storage)
        self.state = self.surveyed or survey(self.plan, self.storage, self.retry_failed)
        self.leases = Leases(self.storage)
        self.leases.saying = lambda: [asdict(beat) for beat in [*self._heard.values()]]
        self.upkeep = Upkeep(self.storage, self.leases)
        self._evaluated = Evaluated(self.tables)
        self._artifacts = Artifacts(self.storage)
        self._running: dict[str, tuple[Order, datetime]] = {}
        self._elsewhere: list[str] = []
        self._looked = 0.0
        self.nodes = Nodes()
        self.retries = Retries(self.nodes)
        self._heard: dict[str, Beat] = {}
        self._unneeded: set[str] = set()
        self._methods = digests_of(self.plan.sweep)
        jobs_before = self.tables.arrow("jobs", ["key", *LEARNED])
        self.allotments = Allotments(self.plan.sweep.resources, self.device.startswith("cuda"))
        self.allotments.learn_all(jobs_before.to_pylist())
        tried = Counter(jobs_before["key"].to_pylist())
        self.scheduler = Scheduler(self.plan, self.state.needed, tried, self._alike)

    @property
    def keep(self) -> tuple[str, ...]:
        """The stages whose networks stay in storage."""
        return self.plan.sweep.keep

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.scheduler.finished

    @property
    def waiting(self) -> bool:
        """Whether jobs are left that another driver has in hand."""
        return bool(self._elsewhere)

    def stop(self) -> None:
        """Start no further job; those that run may end."""
        self.stopping = True

    def needs(self, job: Job) -> tuple[Allotment, tuple[str, ...]]:
        """Return what a job is given, and the nodes that it had better not go to."""
        allotment = self.allotments.of(job, self.retries.grown(job.key))
        return allotment, self.retries.avoid(job.key)

    def take(self, fits: Fits = everywhere) -> Order | None:
        """Return the most urgent job that fits now, or None while everything left waits.

        What another driver has in hand is left to it, and looked at again from time to time, also
        while there is other work: what needs it may be more urgent, or done too.
        """
        while not self.stopping:
            self._look_elsewhere()
            job = self.scheduler.next(lambda job: fits(*self.needs(job)))
            if job is None:
                return None
            if not (self.leases.alone(RECENT) or self.leases.free(job.lease)):
                self._leave(job)
            elif not self._done_meanwhile(job):
                order = self._order(job)
                self.leases.expect(job.lease)
                self._running[job.key] = (order, now())
                self.progress.started(job)
                return order
        return None

    def report(self, result: AttemptResult) -> None:
        """Take in how an attempt ended: retries, failed rows, networks no longer needed.

        Raises:
            StorageIOError: The storage root failed too often. No trial fails for that.
        """
        try:
            self._report(result)
        finally:
            self.upkeep.when_due()

    def _report(self, result: AttemptResult) -> None:
        job = self.plan.jobs[result.key]
        self._running.pop(job.key, None)
        self._evaluated.add(self.upkeep.take_in(result.entries).values())
        self._heard.pop(job.key, None)
        if result.status == "elsewhere":
            self._leave(job)
            self.progress.ended(job, result, lost=())
            return
        self.allotments.take_in(job, result)
        if result.status == "done":
            self.nodes.well(result.node)
            self.scheduler.succeed(job.key)
            self._drop_unneeded(job)
            self.leases.release(job.lease, taken=True)
            self.progress.ended(job, result, lost=())
            return
        self._take_in(job, result)

    def _take_in(self, job: Job, result: AttemptResult) -> None:
        """Take in a failed attempt: another one, or the end of all that needed the job."""
        cause, error = result.cause or "error", result.error or "unknown"
        shut = set(self.nodes.shut)
        if cause == "skew" and result.node:
            self.nodes.close(result.node, error)
        far = progress(job, self._artifacts, self.tables)
        final = self.retries.final(result, far)
        if cause == "memory" and not final and not self.could(self.needs(job)[0]):
            final, error = True, f"{error}; no node has twice as much as it had"
        for node in self.nodes.shut.keys() - shut:
            self.progress.noted(f"node {node[:12]} is given no more jobs: {self.nodes.shut[node]}")
        if final and cause == "storage":
            raise StorageIOError(None, error)
        if cause == "skew" and not self.nodes.fit:
            raise ResourceError(f"{error}; no other node is left")
        lost = self.scheduler.fail(job.key, error) if final else {}
        if not final:
            self.scheduler.again(job.key)
        if cause != "preempted":  # which is no failure: a relaunch goes on with them
            self._write_failed(lost)
        if lost:
            self.leases.release(job.lease)
        self.progress.ended(job, result, lost.keys())

    def _write_failed(self, lost: Mapping[str, str]) -> None:
        for key, why in lost.items():
            stage = self.plan.jobs[key].stage
            if isinstance(stage, Trial):
                row = failed_row(stage, self.plan.jobs[key].labels or {}, why)
                self.tables.write("trials", [row])
        if lost:
            self.tables.commit()

    def withdraw(self, order: Order) -> None:
        """Take back a job that was handed out and has not begun."""
        key = order.job.key
        self._running.pop(key, None)
        self.scheduler.defer(key)
        self.scheduler.again(key)
        self.leases.release(order.job.lease)
        self.progress.ended(order.job, AttemptResult(key, "elsewhere"), lost=())

    def hear(self, beat: Beat) -> None:
        """Take in what a job that runs says of itself; of an attempt that is over, nothing."""
        order, _ = self._running.get(beat.key, (None, None))
        if order is not None and order.attempt == beat.attempt:
            before, self._heard[beat.key] = self._heard.get(beat.key), beat
            self.progress.heard(order.job, beat)
            if beat.epoch and beat.epoch != (before and before.epoch):
                self.upkeep.when_due(more=1)

    def lose(self, key: str, error: str, cause: Cause = "lost") -> None:
        """Take in that a job's worker died; what it left no row of is written here."""
        order, start = self._running[key]
        beat = self._heard.get(key)
        found = self.tables.find("jobs", key) or []
        rows = [row for row in found if row["attempt"] == order.attempt]
        if not rows:
            said: dict[str, Any] = {"status": "failed", "error": error, "cause": cause}
            if beat is not None:
                said |= {"node": beat.host, "node_id": beat.node}
                said |= {"resumed_epoch": beat.resumed_epoch}
            self.tables.write("jobs", rows := [job_row(order, start, **said)])
            self.tables.commit()
        row = rows[0]
        self.report(
            AttemptResult(
                key,
                row["status"],
                row["error"],
                row["cause"],
                row.get("seconds") or 0.0,
                node=row.get("node_id"),
            )
        )

    def _alike(self, job: Job) -> Hashable:
        """Return what decides where a job fits: what it is like, and what befell it."""
        return likeness(job), self.retries.grown(job.key), self.retries.avoid(job.key)

    def _order(self, job: Job) -> Order:
        allotment, avoid = self.needs(job)
        takes = self.allotments.takes(job)
        return Order(
            job=job,
            root=self.storage.root,
            device=self.device if allotment.gpus or not self.device.startswith("cuda") else "cpu",
            keep=self.keep,
            attempt=self.scheduler.attempt(job.key),
            allotment=allotment,
            time_limit=takes.time_limit,
            process=self.allotments.process(job),
            checkpoint_every=takes.checkpoint_every or 0.0,
            avoid=avoid,
            driver=self.leases.driver,
            first=self.scheduler.tries(job.key) == 1,
            known=self._evaluated.of(job) if self.scheduler.tries(job.key) == 1 else None,
            patience=patience_of(self.storage),
            methods=self._methods,
            guarded=self.plan.guarded,
        )

    def _leave(self, job: Job) -> None:
        """Leave a job to the driver that has it in hand."""
        self.scheduler.defer(job.key)
        self._elsewhere.append(job.key)

    def _look_elsewhere(self) -> None:
        """Put what another driver has given up or finished back in line."""
        if not self._elsewhere or time.monotonic() - self._looked < POLL:
            return
        self._looked = time.monotonic()
        free = [key for key in self._elsewhere if self.leases.free(self.plan.jobs[key].lease)]
        self._elsewhere = [key for key in self._elsewhere if key not in set(free)]
        for key in free:
            self.scheduler.again(key)

    def _done_meanwhile(self, job: Job) -> bool:
        """Note a job as ended that another driver did since this one looked."""
        if self.scheduler.tries(job.key) > 1 or self.leases.alone(RECENT):
            return False  # what an earlier attempt of ours left unfinished is ours to finish
        ended = ended_meanwhile(job, self.storage, self.tables)
        if ended is None or (ended.status == "failed" and self.retry_failed):
            return False
        lost: Collection[str] = ()
        if ended.status == "done":
            self.scheduler.succeed(job.key)
        else:
            lost = self.scheduler.fail(job.key, ended.error or "unknown")
        self.progress.ended(job, ended, lost)
        return True

    def _drop_unneeded(self, job: Job) -> None:
        """Drop networks that the file does not keep; never one that was there before."""
        ended = self.scheduler.done | self.state.done | self.scheduler.failed.keys()
        for key in self.scheduler.done.intersection(job.parents):
            parent = self.plan.jobs[key]
            droppable = parent.stage.keepable and parent.kind not in self.keep
            if droppable and all(child in ended for child in self.plan.children(key)):
                self._unneeded.add(key)
        if self._unneeded and not self.leases.others():  # who may need them still
            for key in self._unneeded:
                self._artifacts.drop(self.plan.jobs[key].kind, key)
            self._unneeded.clear()
