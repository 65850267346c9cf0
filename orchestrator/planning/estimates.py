"""Estimates: how long what is left takes, from what earlier jobs took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from orchestrator.planning.plan import Job, Plan
from prune_core.specs.stages import dense_of
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
    """Return the seconds of jobs times the part of a GPU, or else the CPUs, that they held."""
    return jobs["seconds"] * jobs["gpus"].where(jobs["gpus"] > 0, jobs["cpus"]).fillna(1)


def rates(jobs: pd.DataFrame, plan: Plan) -> Rate:
    """Return what a job takes, from the most similar jobs that ran before.

    Jobs of this plan come first: seconds in proportion to their work, of the same kind,
    architecture and data set where there are any. Without, it is the mean over jobs of other plans.
    In both, jobs of the same kind and architecture count, and those of the same kind alone where
    there are none.
    """
    done = jobs[(jobs["status"] == "done") & (jobs["resumed_epoch"].fillna(0) == 0)]
    spent: defaultdict[tuple[Any, ...], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for row in done.to_dict("records"):
        job = plan.jobs.get(row["key"])
        weights = [("weighed", job.weight)] if job is not None else []
        for how, weight in [*weights, ("mean", 1.0)]:
            images = [dense_of(job.stage).dataset] if job is not None else []
            for like in _likes(how, row["kind"], row["architecture"], *images):
                spent[like][0] += row["seconds"]
                spent[like][1] += weight

    def rate(job: Job) -> float | None:
        for how, weight in (("weighed", job.weight), ("mean", 1.0)):
            images = dense_of(job.stage).dataset
            for like in _likes(how, job.kind, job.architecture, images):
                if like in spent:
                    seconds, total = spent[like]
                    return seconds / total * weight
        return None

    return rate


def _likes(*facts: object) -> Iterator[tuple[object, ...]]:
    """Go through what jobs have in common that are alike, the closest first."""
    for known in range(len(facts), 1, -1):
        yield facts[:known]


def seconds_left(rate: Rate, plan: Plan, keys: Iterable[str]) -> dict[str, float | None]:
    """Return the seconds that jobs take together, by kind; None for a kind that never ran."""
    left: dict[str, float | None] = {}
    for key in keys:
        job = plan.jobs[key]
        seconds, before = rate(job), left.get(job.kind, 0.0)
        left[job.kind] = None if seconds is None or before is None else before + seconds
    return left


def at_once(jobs: pd.DataFrame) -> Mapping[str, float]:
    """Return how many jobs went on at once by node, on average from first start to last end."""
    if jobs.empty:
        return {}
    span = (jobs["end"].max() - jobs["start"].min()).total_seconds()
    return {
        str(node): float(part["seconds"].sum()) / max(span, 1e-9)
        for node, part in jobs.groupby("node")
    }
