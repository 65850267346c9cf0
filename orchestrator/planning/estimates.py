"""Estimates: how long what is left takes, from what earlier jobs took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

from orchestrator.planning.plan import Job, Plan
from results.tables.store import Tables

COLUMNS = [
    "key", "kind", "architecture", "status", "resumed_epoch", "node", "gpus", "cpus",
    "start", "end", "seconds",
]  # fmt: skip
Rate = Callable[[Job], float | None]
"""Seconds that a job takes; None where nothing like it ever ran."""


def jobs_table(tables: Tables) -> pd.DataFrame:
    """Return the rows of ``jobs`` that estimates are made from."""
    jobs = tables.read("jobs", COLUMNS)
    # Rows of an older mrsweep have no seconds of their own.
    return jobs.assign(
        seconds=jobs["seconds"].fillna((jobs["end"] - jobs["start"]).dt.total_seconds())
    )


def device_seconds(jobs: pd.DataFrame) -> pd.Series:
    """Return the seconds that jobs took of a GPU, by their share of it, or else of CPUs."""
    return jobs["seconds"] * jobs["gpus"].where(jobs["gpus"] > 0, jobs["cpus"]).fillna(1)


def rates(jobs: pd.DataFrame, plan: Plan) -> Rate:
    """Return what jobs take at the rates of earlier ones.

    Of the nearest that ran: in proportion to the work, where jobs of this plan ran, of the same
    kind and architecture before the same kind alone; else the mean over other plans' jobs.
    """
    done = jobs[(jobs["status"] == "done") & (jobs["resumed_epoch"].fillna(0) == 0)]
    found: defaultdict[tuple[Any, ...], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for row in done.to_dict("records"):
        job = plan.jobs.get(row["key"])
        weights = [("weighed", job.weight)] if job is not None else []
        for how, weight in [*weights, ("mean", 1.0)]:
            for like in ((how, row["kind"], row["architecture"]), (how, row["kind"])):
                found[like][0] += row["seconds"]
                found[like][1] += weight

    def rate(job: Job) -> float | None:
        for how, weight in (("weighed", job.weight), ("mean", 1.0)):
            for like in ((how, job.kind, job.architecture), (how, job.kind)):
                if like in found:
                    seconds, total = found[like]
                    return seconds / total * weight
        return None

    return rate


def seconds_left(rate: Rate, plan: Plan, keys: Iterable[str]) -> dict[str, float | None]:
    """Return the seconds that jobs take, by kind; None for a kind that nothing is known of."""
    found: dict[str, float | None] = {}
    for key in keys:
        job = plan.jobs[key]
        seconds, before = rate(job), found.get(job.kind, 0.0)
        found[job.kind] = None if seconds is None or before is None else before + seconds
    return found


def at_once(jobs: pd.DataFrame) -> Mapping[str, float]:
    """Return how many jobs went on at once by node, on average from first start to last end."""
    if jobs.empty:
        return {}
    span = (jobs["end"].max() - jobs["start"].min()).total_seconds()
    return {
        str(node): float(part["seconds"].sum()) / max(span, 1e-9)
        for node, part in jobs.groupby("node")
    }
