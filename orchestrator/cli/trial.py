"""``mrsweep trial``: one trial, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from orchestrator.cli.checks import check_methods
from orchestrator.cli.request import open_sweep
from orchestrator.cli.selection import matching
from orchestrator.driver.executors import record_plan
from orchestrator.driver.inline import execute_path
from orchestrator.sweepfile.model import sweep_text
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
