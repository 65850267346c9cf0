"""``mrsweep trial``: one trial, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from orchestrator.cli.checks import check_methods
from orchestrator.cli.request import open_sweep
from orchestrator.driver.executors import record_plan
from orchestrator.driver.inline import execute_path
from orchestrator.errors import RequestError
from orchestrator.planning.plan import Job, Plan
from orchestrator.sweepfile.model import sweep_text
from orchestrator.sweepfile.rules import FACTOR_FIELDS
from orchestrator.worker.device import resolve_device
from results.tables.store import Tables


def run_trial(
    file: Path,
    select: str,
    storage: str,
    device: str,
    console: Console,
    changes: Sequence[str] = (),
) -> bool:
    """Run the first trial that matches; return whether it is done."""
    plan, root = open_sweep(file, storage, changes)
    jobs = matching(select, plan)
    job = jobs[0]
    classes = check_methods(plan, None, console)
    if len(jobs) > 1:
        console.print(f"{len(jobs)} trials match; this is the first of them")
    device = resolve_device(device)
    record_plan(plan, root, sweep_text(file, changes), classes)
    with console.status(f"{job.kind} {job.key}"):
        execute_path(plan, job.key, root, device)
    row = (Tables(root).find("trials", job.key) or [{}])[0]
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in row.items():
        if value is not None:
            table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    console.print(table)
    return bool(row.get("status") == "done")


def matching(select: str, plan: Plan) -> list[Job]:
    """Return the trials with the levels that ``criterion=l1,seed=0`` gives; one at least."""
    wanted = _selection(select, plan)
    jobs = [
        job
        for job in plan.trials.values()
        if all(str((job.labels or {})[name]) == level for name, level in wanted.items())
    ]
    if not jobs:
        raise RequestError(f"no trial of {plan.sweep.name} matches {select!r}")
    return jobs


def _selection(select: str, plan: Plan) -> dict[str, str]:
    factors = {**plan.sweep.factors(), "seed": plan.seeds}
    selection: dict[str, str] = {}
    for part in filter(None, select.split(",")):
        name, _, level = part.partition("=")
        if name not in factors:
            known = ", ".join([*FACTOR_FIELDS, "seed"])
            raise RequestError(f"--select: no factor {name!r}; there are: {known}")
        levels = [str(known) for known in factors[name]]
        if level not in levels:
            raise RequestError(
                f"--select: {name} has no level {level!r}; it has: {', '.join(levels)}"
            )
        selection[name] = level
    return selection
