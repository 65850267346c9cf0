"""Surveys: what storage holds of a plan, and so what is left to do. There is no resume mode."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from orchestrator.planning.attempt import AttemptResult
from orchestrator.planning.plan import Job, Plan
from orchestrator.state.artifacts import Artifacts
from prune_core.specs.stages import Trial
from results.tables.storage import Storage
from results.tables.store import Tables


@dataclass(frozen=True)
class State:
    """What storage holds of a plan."""

    done: frozenset[str]
    """Trials whose row says done."""
    failed: frozenset[str]
    """Trials whose row says failed."""
    needed: tuple[str, ...]
    """Jobs to do for the trials that are left."""


class Finished:
    """Says of jobs that are no trials whether they are done; a few listings, however many jobs."""

    def __init__(self, storage: Storage, tables: Tables):
        self._artifacts = Artifacts(storage)
        self._tables = tables
        self._present: dict[str, set[str]] = defaultdict(set)
        self._listed: set[str] = set()
        self._evaluated: set[str] | None = None

    def __contains__(self, job: Job) -> bool:
        """Whether the job's artifact is there, and everything that it measures is measured."""
        if job.kind not in self._listed:
            self._listed.add(job.kind)
            self._present[job.kind] = self._artifacts.keys(job.kind)
        if job.key not in self._present[job.kind]:
            return False
        if not job.attacks:
            return True
        if self._evaluated is None:
            self._evaluated = self._tables.keys("evaluations")
        return all(evaluation.key in self._evaluated for evaluation in job.evaluations)


def ended_meanwhile(job: Job, storage: Storage, tables: Tables) -> AttemptResult | None:
    """Return how another driver ended a job since this one looked; None if it is still to do."""
    if not isinstance(job.stage, Trial):
        if not Artifacts(storage).has(job.kind, job.key):
            return None
        wanted = {evaluation.key for evaluation in job.evaluations}
        there = wanted <= tables.find_all("evaluations", wanted).keys()
        return AttemptResult(job.key, "done") if there else None
    row = (tables.find("trials", job.key) or [{}])[0]
    if row.get("status") == "failed":
        return AttemptResult(job.key, "failed", row["error"])
    return AttemptResult(job.key, "done") if row.get("status") == "done" else None


def survey(plan: Plan, storage: Storage, retry_failed: bool = False) -> State:
    """Compare a plan with storage; failed trials count as left only with ``retry_failed``."""
    tables = Tables(storage)
    columns = tables.arrow("trials", ["trial_id", "status"])
    status = dict(zip(*(columns[name].to_pylist() for name in columns.column_names), strict=True))
    done = frozenset(key for key in plan.trials if status.get(key) == "done")
    failed = frozenset(key for key in plan.trials if status.get(key) == "failed")
    over = done if retry_failed else done | failed
    finished = Finished(storage, tables)
    asked: set[str] = set()
    needed: list[str] = []
    for key in reversed(list(plan.jobs)):  # children before parents
        job = plan.jobs[key]
        if key not in over if key in plan.trials else key in asked and job not in finished:
            needed.append(key)
            asked.update(job.parents)
    return State(done, failed, tuple(reversed(needed)))
