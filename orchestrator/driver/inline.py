"""The executor without Ray: one job after the other, in this process."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from orchestrator.driver.allotment import Allotments
from orchestrator.driver.launch import POLL, Launch
from orchestrator.planning.attempt import Order
from orchestrator.planning.plan import Plan
from orchestrator.state.rows import failed_row
from orchestrator.state.upkeep import fold_all
from orchestrator.worker.job import perform
from prune_core.specs.stages import Trial
from results.tables.storage import Storage
from results.tables.store import Tables


@dataclass(frozen=True)
class Inline:
    """An executor; see `orchestrator.driver.executors`."""

    device: str

    def execute(self, launch: Launch) -> None:
        """Do every job of a launch here."""
        while not (launch.finished or launch.stopping):
            order = launch.take()
            if order is not None:
                # Here a hanging job hangs before its user's eyes; its process is not ours to end.
                launch.report(perform(replace(order, time_limit=None), tell=launch.hear))
            elif launch.waiting:
                time.sleep(POLL)  # another driver has the rest in hand
            elif not launch.finished:
                raise RuntimeError("no job can start, and none is running: the plan has a cycle")


def execute_path(plan: Plan, trial_id: str, storage: Storage, device: str) -> None:
    """Do one trial here, with all that it needs and storage has not; a failure is its row."""
    job = plan.trials[trial_id]
    tables = Tables(storage)
    attempt = 1 + tables.arrow("jobs", ["key"])["key"].to_pylist().count(trial_id)
    takes = Allotments(plan.sweep.resources, on_gpu=False).takes(job)
    order = Order(job, storage.root, device, plan.sweep.keep, attempt)
    result = perform(replace(order, checkpoint_every=takes.checkpoint_every or 0.0))
    if result.status != "done" and isinstance(job.stage, Trial):
        row = failed_row(job.stage, job.labels or {}, result.error or "unknown")
        tables.write("trials", [row])
        tables.commit()
    fold_all(storage)
