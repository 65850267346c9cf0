"""Tracking: what a launch tells is handed to a tracker, in a thread of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import queue
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from orchestrator.cli.trackers import CURVES, TRACKERS, Open, Row, Run, TrackerError
from orchestrator.planning.attempt import AttemptResult, Beat
from orchestrator.planning.plan import Job
from orchestrator.state.progress import trainings
from prune_core.specs.stages import Trial, dense_of
from results.tables.schema import is_metric
from results.tables.storage import Storage
from results.tables.store import Tables

log = logging.getLogger(__name__)


class Tracking:
    """Hands jobs to a tracker, in a thread: the tracker may be slow or out of reach."""

    def __init__(self, name: str, sweep: str, storage: Storage):
        if importlib.util.find_spec(name) is None:
            raise TrackerError(f"--logger {name} is not installed; pip install 'mrsweep[{name}]'")
        self._tables = Tables(storage)
        root = Path(storage.root) if storage.local else Path()
        self._tracker = TRACKERS[name](sweep, root / name)
        self._name = name
        self._runs: dict[str, Run] = {}
        self._shown: dict[str, int] = {}
        """By job, the last of its epochs that was shown."""
        self._failed: set[str] = set()
        self._todo: queue.SimpleQueue[Callable[[Open], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    @property
    def failures(self) -> int:
        """How many jobs are not shown whole."""
        return len(self._failed)

    def started(self, job: Job) -> None:
        """Show nothing: the job has only begun."""

    def heard(self, job: Job, beat: Beat) -> None:
        """Show an epoch that has ended."""
        epoch = beat.epoch
        if epoch is not None and job.key not in self._failed:
            self._put(job, lambda begin: self._epochs(begin, job, [epoch]))

    def noted(self, message: str) -> None:
        """Show nothing: it is said to people."""

    def ended(self, job: Job, result: AttemptResult, lost: Collection[str]) -> None:
        """Show what a job that is done has come to; close the run of one that failed for good."""
        if result.status == "done":
            self._put(job, lambda begin: self._end(begin, job))
        elif lost:
            self._put(job, lambda _: self._close(job))

    def close(self) -> None:
        """Wait until everything is handed over."""
        self._todo.put(None)
        self._thread.join()
        if self._failed:
            log.warning("runs not shown in %s: %d; the tables have them", self._name, self.failures)

    def _put(self, job: Job, show: Callable[[Open], None]) -> None:
        def shown(begin: Open) -> None:
            try:
                show(begin)
            except Exception:  # no tracker's fault is a reason to lose the sweep
                self._runs.pop(job.key, None)
                if job.key not in self._failed:
                    self._failed.add(job.key)
                    log.exception("%s did not take %s %s", self._name, job.kind, job.key)

        self._todo.put(shown)

    def _follow(self) -> None:
        with self._tracker as begin:
            while (show := self._todo.get()) is not None:
                show(begin)
            for run in self._runs.values():
                with contextlib.suppress(Exception):  # as above
                    run.end({}, {})

    def _run(self, begin: Open, job: Job) -> Run:
        if job.key not in self._runs:
            self._runs[job.key] = begin(job.key, _levels(job))
        return self._runs[job.key]

    def _epochs(self, begin: Open, job: Job, epochs: Sequence[Row]) -> None:
        """Show epochs that have not been shown, in their order."""
        before = _before(job)
        numbered = {before[e["network"]] + e["epoch"]: e for e in epochs if e["network"] in before}
        for number, epoch in sorted(numbered.items()):
            if number > self._shown.get(job.key, 0):
                curves = {name: epoch[name] for name in CURVES if epoch.get(name) is not None}
                self._run(begin, job).epoch(number, curves)
                self._shown[job.key] = number

    def _end(self, begin: Open, job: Job) -> None:
        """Show what has not been heard of, from the tables, and close the run."""
        keys = [stage.key for stage in trainings(job.stage)]
        if not (keys or isinstance(job.stage, Trial)):
            return
        found = self._tables.find_all("epochs", keys) if keys else {}
        self._epochs(begin, job, [epoch for rows in found.values() for epoch in rows])
        metrics: dict[str, float] = {}
        if isinstance(job.stage, Trial):
            (row,) = self._tables.find("trials", job.key) or [{}]
            metrics = {n: value for n, value in row.items() if is_metric(n) and value is not None}
        self._run(begin, job).end(_levels(job), metrics)
        del self._runs[job.key]
        self._failed.discard(job.key)

    def _close(self, job: Job) -> None:
        if run := self._runs.pop(job.key, None):
            run.end({}, {})


def _levels(job: Job) -> Row:
    """Return what a run is called by: a trial's levels, and what tells other jobs apart."""
    if job.labels is not None:
        return dict(job.labels)
    dense = dense_of(job.stage)
    return {"kind": job.kind, "architecture": job.architecture, "seed": dense.seed}


def _before(job: Job) -> dict[str, int]:
    """Return the epochs that a job's earlier trainings have, by the key of each training."""
    before, total = {}, 0
    for stage in reversed(trainings(job.stage)):
        before[stage.key] = total
        total += stage.training.epochs if stage.training else 0
    return before
