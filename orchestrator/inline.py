"""The executor without Ray: one job after the other, in this process."""

from __future__ import annotations

from orchestrator.jobs import perform
from orchestrator.launch import Launch
from orchestrator.plan import Plan
from orchestrator.rows import failed_row
from prune_core.stages import Trial
from results.storage import Storage
from results.store import Tables


def execute(launch: Launch) -> None:
    """Do every job of a launch here."""
    root = launch.storage.root
    while not launch.finished:
        job = launch.take()
        if job is None:
            raise RuntimeError("no job can start, and none is running: the plan has a cycle")
        attempt = launch.scheduler.attempt(job.key)
        launch.report(perform(job, root, launch.device, launch.keep, attempt))


def execute_path(plan: Plan, trial_id: str, storage: Storage, device: str) -> None:
    """Do one trial here, with all that it needs and storage has not; a failure is its row."""
    job = plan.trials[trial_id]
    tables = Tables(storage)
    attempt = 1 + tables.arrow("jobs", ["key"])["key"].to_pylist().count(trial_id)
    outcome = perform(job, storage.root, device, plan.sweep.keep, attempt)
    if outcome.status != "done" and isinstance(job.stage, Trial):
        row = failed_row(job.stage, job.labels or {}, outcome.error or "unknown")
        tables.write("trials", trial_id, [row], over="failed")
