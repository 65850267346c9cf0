"""A storage root that holds a sweep which never ran: its plan, and rows that were drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from orchestrator.driver.executors import record_plan
from orchestrator.planning.plan import make_plan
from orchestrator.state import rows
from orchestrator.sweepfile.model import parse_sweep
from prune_core.specs.stages import Dense, Finetuned, Pruned, Trial
from results.tables.fold import Folder
from results.tables.log import Row
from results.tables.storage import Storage
from results.tables.store import Tables

IMAGES = 40
BETTER = {"none": -0.2, "pgd": 0.1, "l1": 0.02, "mrs": 0.02, 0.7: -0.05}
"""What levels add to an accuracy."""


def fill(file: Path, root: Path) -> None:
    """Write rows for all trials of a sweep, as a run would, one file a table."""
    rng = np.random.default_rng(0)
    text = file.read_text()
    plan = make_plan(parse_sweep(text))
    storage = Storage(str(root))
    record_plan(plan, storage, text)
    tables: dict[str, list[Row]] = {name: [] for name in ("trials", "jobs", "modules", "epochs")}
    measured: dict[str, list[Row]] = {}
    for job in plan.jobs.values():
        stage = job.stage
        network = stage.network if isinstance(stage, Trial) else stage
        add = sum(BETTER.get(level, 0.0) for level in (job.labels or {}).values())
        measured.setdefault(network.key, [
            rows.evaluation_row(each, rng.random(IMAGES) < 0.7 + add - 0.1 * i, 0.7 + add, 0.1)
            for i, each in enumerate(job.evaluations)
        ])  # fmt: skip
        for row in measured[network.key]:
            row["accuracy"] = float(np.unpackbits(
                np.frombuffer(row["outcomes"], dtype=np.uint8), count=IMAGES
            ).mean())  # fmt: skip
        if isinstance(network, Dense | Finetuned):
            history = [_epoch(epoch, network.training.epochs) for epoch in (1, 2)]
            tables["epochs"] += rows.epoch_rows(network, history)
        if isinstance(network, Pruned):
            tables["modules"] += [_module(network.key, place) for place in range(3)]
        tables["jobs"].append(_job(job.key, job.kind))
        if isinstance(stage, Trial):
            tables["trials"].append({
                **rows.levels_row(stage, job.labels or {}), "status": "done", "classes": 10,
                **rows.metrics("dense", measured[stage.dense.key]),
                **rows.metrics("pruned", measured[stage.pruned.key]),
                **rows.metrics("finetuned", measured[network.key]),
            })  # fmt: skip
    tables["evaluations"] = [row for found in measured.values() for row in found]
    written = Tables(storage)
    for name, found in tables.items():
        written.write(name, found)
    written.commit()
    Folder(storage).fold()


def _epoch(epoch: int, epochs: int) -> Row:
    return {"epoch": epoch, "loss": 1.0 / epoch, "reported": epoch == epochs, "lr": 0.01}


def _module(network: str, place: int) -> Row:
    return {"network": network, "module": f"conv{place}", "position": place, "layers": 1,
            "ratio": 0.2 * place, "width_before": 10, "width_after": 10 - 2 * place}  # fmt: skip


def _job(key: str, kind: str) -> Row:
    return {"key": key, "kind": kind, "attempt": 1, "status": "done", "seconds": 1.0}
