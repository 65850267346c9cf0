"""Estimates: how long what is left takes, from what jobs like it took, on images like theirs.

A job is estimated by jobs of its kind with the same network, images and device; where there are
none, by batches that were timed (`mrsweep plan --probe`), one of each part that jobs have, within a
factor of two, and of attacks, whose length depends on the network, of three. Where only other kinds
of job are known, the work is counted beforehand, within a factor of three. Without these nothing is
known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

import pandas as pd

from orchestrator.planning.plan import Job, Plan
from orchestrator.planning.work import Passes, Work, images_in_words
from prune_core.specs.stages import dense_of
from results.tables.store import Tables

PROBE = "probe"
"""The kind of the rows in ``jobs`` of batches that were timed begins so; then comes the part."""
FACTOR, TIMED = 3.0, 2.0
"""What counted work may be off by, either way, and a part of which a batch was timed."""
RECENT = timedelta(days=1)
"""Before the last job ended: devices that were in use then count as those to come."""
COLUMNS = [
    "key", "kind", "architecture", "status", "resumed_epoch", "node", "device", "accelerator",
    "gpus", "cpus", "start", "end", "seconds", "dataset", "images", "work",
]  # fmt: skip


class Estimate(NamedTuple):
    """Seconds, and between which they lie."""

    seconds: float
    low: float
    high: float


Rate = Callable[[Job], Estimate | None]
"""Seconds that a job takes; None where nothing like it ever ran."""


@dataclass
class Left:
    """What jobs of one kind take together."""

    seconds: float = 0.0
    low: float = 0.0
    high: float = 0.0
    unknown: Counter[str] = field(default_factory=Counter)
    """Jobs that are not in these, by their network and images."""


@dataclass
class _Spent:
    seconds: float = 0.0
    work: float = 0.0
    images: float | None = None


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


def devices_of(jobs: pd.DataFrame) -> list[str]:
    """Return the devices that were in use when the last job ended: models of GPU, and ``cpu``."""
    recent = jobs[jobs["end"] >= jobs["end"].max() - RECENT]
    return sorted(set(_device(recent)))


def rates(jobs: pd.DataFrame, plan: Plan) -> Rate:
    """Return what a job takes; see the module's docstring."""
    spent = _spent(jobs, plan)

    def paced(like: tuple[str, ...], passes: Passes | Work, factor: float) -> Estimate | None:
        if not (known := spent.get(like)) or not known.work:
            return None
        seconds = known.seconds / known.work * passes.over(known.images)
        return Estimate(seconds, seconds / factor, seconds * factor)

    def rate(job: Job) -> Estimate | None:
        alike, others = _likes(job)
        if estimate := paced(alike, job.work, 1.0):
            return estimate
        whole = Estimate(0.0, 0.0, 0.0)
        for part, passes in job.work.parts.items():
            timed = (probe_of(part), *others)
            doubt = FACTOR if part in job.attacks else TIMED
            estimate = paced(timed, passes, doubt) or paced(others, passes, FACTOR)
            if estimate is None:
                return None
            whole = Estimate(*(a + b for a, b in zip(whole, estimate, strict=True)))
        return whole if job.work.parts else paced(others, job.work, FACTOR)

    return rate


def _spent(jobs: pd.DataFrame, plan: Plan) -> dict[tuple[str, ...], _Spent]:
    """Return what jobs that are done took, by what they have in common."""
    done = jobs[(jobs["status"] == "done") & (jobs["resumed_epoch"].fillna(0) == 0)]
    spent: dict[tuple[str, ...], _Spent] = {}
    used = done[_device(done).isin(devices_of(done))] if len(done) else done
    for row in used.to_dict("records"):
        job = plan.jobs.get(row["key"])
        images = None if pd.isna(row["images"]) else float(row["images"])
        if job is not None:
            work = job.work.over(images)  # as it is counted today
            likes = _likes(job)
        elif not pd.isna(row["work"]):
            work = row["work"]
            likes = _alike(row["kind"], row["architecture"], row["dataset"])
        else:
            continue  # of an older mrsweep, and another plan
        for like in likes:
            so_far = spent.setdefault(like, _Spent())
            so_far.seconds += row["seconds"]
            so_far.work += work
            so_far.images = images or so_far.images
    return spent


def probe_of(part: str) -> str:
    """Return the kind of the rows of batches that were timed of a part of jobs."""
    return f"{PROBE} {part}"


def seconds_left(rate: Rate, plan: Plan, keys: Iterable[str]) -> dict[str, Left]:
    """Return the seconds that jobs take together, by kind."""
    by_kind: dict[str, Left] = {}
    for key in keys:
        job = plan.jobs[key]
        left = by_kind.setdefault(job.kind, Left())
        if (estimate := rate(job)) is None:
            left.unknown[f"{job.architecture} on {dense_of(job.stage).dataset.name}"] += 1
        else:
            left.seconds += estimate.seconds
            left.low += estimate.low
            left.high += estimate.high
    return by_kind


def at_once(jobs: pd.DataFrame) -> Mapping[str, float]:
    """Return how many jobs went on at once by node, on average from first start to last end."""
    if jobs.empty:
        return {}
    span = (jobs["end"].max() - jobs["start"].min()).total_seconds()
    return {
        str(node): float(part["seconds"].sum()) / max(span, 1e-9)
        for node, part in jobs.groupby("node")
    }


def _device(jobs: pd.DataFrame) -> Any:
    return jobs["accelerator"].fillna(jobs["device"]).fillna("cpu")


def _likes(job: Job) -> tuple[tuple[str, ...], ...]:
    return _alike(job.kind, job.architecture, images_in_words(dense_of(job.stage).dataset))


def _alike(kind: str, architecture: str, images: str) -> tuple[tuple[str, ...], ...]:
    """Return what jobs have in common that are alike, the closest first."""
    return (kind, architecture, images), (architecture, images)
