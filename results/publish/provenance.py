"""Where a sweep's rows come from, and what they took: as the tables say it, nothing else."""

from __future__ import annotations

from typing import Any

import pandas as pd

PROVENANCE = (
    "version", "commit", "torch", "torchvision", "timm", "torch_pruning", "cuda", "processor",
    "accelerator",
)  # fmt: skip
"""Columns of ``trials`` on which the last bits of a row may depend, besides its key."""


def computed(trials: pd.DataFrame) -> list[dict[str, Any]]:
    """Return each kind of machine and software that rows were computed by, most rows first.

    Each has the columns of `PROVENANCE` that say anything, ``trials``, and when the first and the
    last of its rows were written.
    """
    done = trials[trials["status"] == "done"]
    names = [name for name in PROVENANCE if name in done]
    found = []
    for values, part in done.groupby(names, dropna=False, sort=True):
        told = dict(zip(names, values, strict=True))
        said = {name: value for name, value in told.items() if isinstance(value, str)}
        ends = {"first": part["finished"].min(), "last": part["finished"].max()}
        times = {name: f"{end:%Y-%m-%dT%H:%M:%SZ}" for name, end in ends.items() if pd.notna(end)}
        found.append({**said, "trials": len(part), **times})
    return sorted(found, key=lambda one: -int(one["trials"]))


def compute(jobs: pd.DataFrame) -> pd.DataFrame:
    """Return what the jobs of a sweep took, a row for each kind and one for all.

    Args:
        jobs: rows of ``jobs``; every attempt is one, those that failed too.

    Returns:
        ``kind``, ``jobs`` that are done, ``failed`` attempts, ``median_seconds`` and
        ``longest_seconds`` of those done, ``gpu_hours`` and ``cpu_hours`` of all attempts (half a
        GPU for an hour is half of one), ``failed_hours`` in either, ``peak_memory`` in bytes,
        ``kilowatt_hours`` (NaN where nothing measured it) and ``measured``: attempts with energy.
    """
    seconds = jobs["seconds"].fillna((jobs["end"] - jobs["start"]).dt.total_seconds())
    gpus, cpus = jobs["gpus"].fillna(0), jobs["cpus"].fillna(1)
    rows = jobs.assign(
        seconds=seconds,
        gpu_hours=seconds * gpus / 3600,
        cpu_hours=seconds * cpus / 3600,
        kilowatt_hours=jobs[["gpu_joules", "cpu_joules"]].sum(axis=1, min_count=1) / 3.6e6,
    )
    parts = [(str(kind), part) for kind, part in rows.groupby("kind", sort=False)]
    return pd.DataFrame([_row(kind, part) for kind, part in [*parts, ("all", rows)]])


def _row(kind: str, rows: pd.DataFrame) -> dict[str, Any]:
    done, failed = rows[rows["status"] == "done"], rows[rows["status"] != "done"]
    hours = "gpu_hours" if rows["gpu_hours"].sum() > 0 else "cpu_hours"
    return {
        "kind": kind,
        "jobs": len(done),
        "failed": len(failed),
        "median_seconds": done["seconds"].median(),
        "longest_seconds": done["seconds"].max(),
        "gpu_hours": rows["gpu_hours"].sum(),
        "cpu_hours": rows["cpu_hours"].sum(),
        "failed_hours": failed[hours].sum(),
        "peak_memory": rows["peak_memory"].max(),
        "kilowatt_hours": rows["kilowatt_hours"].sum(min_count=1),
        "measured": int(rows["kilowatt_hours"].notna().sum()),
    }
