"""Attempts at jobs: what an executor is told to do, and how that ended; both as JSON too.

An order goes to another process as JSON with every distinct stage once, by its key. Stages hold
their parents whole: written out in place, a network pruned in several rounds would be repeated
exponentially often.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from orchestrator.planning.plan import Job
from prune_core.specs.settings import Threat
from prune_core.specs.stage import Stage
from prune_core.specs.stages import STAGES, Rewound
from results.tables.log import decode, encode

Cause = Literal["error", "system", "storage", "memory", "lost", "preempted", "time", "skew"]
"""Why an attempt failed: an error of its own; the system's, where it ran; the storage root; no
memory; its worker died; its node was lost; it hung; its worker has other code than the driver."""

Process = Literal["worker", "fresh", "resident"]
"""Where a job runs: in Ray's worker itself; in a process of its own, forked from one that has all
imports done; in such a process that does job after job and is replaced after a failure."""

ATTEMPTS: dict[Cause, int] = {
    "error": 1, "system": 3, "storage": 3, "memory": 2, "lost": 3, "preempted": 20, "time": 2,
    "skew": 1000,
}  # fmt: skip
"""How many attempts without progress a job has before a failure of each cause is final.

An error of its own would come again; memory that ran out is given once more, doubled. A worker with
other code refuses before it begins, and its node is given no more.
"""


@dataclass(frozen=True)
class Allotment:
    """What a job is given of a machine while it runs."""

    cpus: float = 1.0
    gpus: float = 0.0
    memory: int | None = None
    """Bytes of main memory."""
    accelerator: str | None = None
    """The model of GPU, as Ray names it."""


@dataclass(frozen=True)
class Order:
    """One attempt at a job: what, where, with what."""

    job: Job
    root: str
    """The storage root."""
    device: str
    keep: tuple[str, ...] = ()
    """Kinds of stages whose artifacts stay in storage."""
    attempt: int = 1
    allotment: Allotment = Allotment()
    time_limit: float | None = None
    """Seconds after which the job counts as hanging."""
    process: Process = "worker"
    checkpoint_every: float = 60.0
    """Seconds from one checkpoint of a training to the next, at least."""
    avoid: tuple[str, ...] = ()
    """Nodes of the cluster that it had better not go to."""
    driver: str | None = None
    """The driver that holds the job's lease; None where the job runs without one."""
    first: bool = False
    """Whether this is the driver's first attempt: a job done by then was done by another driver."""
    known: tuple[Mapping[str, Any], ...] | None = None
    """The rows of ``evaluations`` of the job and its parents, if the driver knows them all."""
    patience: float = 0.0
    """Seconds that the storage root is waited for where it fails."""
    guarded: bool = False
    """Whether methods of the user's own are refused that read what they are not given."""
    methods: Mapping[str, str | None] = field(default_factory=dict)
    """Where the driver is: `orchestrator.planning.outsiders.digests_of` the sweep."""


@dataclass(frozen=True)
class Beat:
    """What a job that runs says of itself: when it begins, at each epoch, and now and then."""

    key: str
    attempt: int
    host: str
    pid: int
    node: str | None = None
    """The node of the cluster."""
    resumed_epoch: int = 0
    """Epochs that were behind it when it began."""
    doing: str = ""
    """What it is at, such as ``epoch 3/40`` or ``fgsm``."""
    epoch: Mapping[str, Any] | None = None
    """What the last one that ended has come to, as in ``epochs``."""
    seconds_left: float | None = None
    """Of its training, at the pace so far."""


@dataclass(frozen=True)
class AttemptResult:
    """How one attempt at a job ended."""

    key: str
    status: Literal["done", "failed", "elsewhere"]
    """``elsewhere``: nothing was done, because another driver has the job in hand."""
    error: str | None = None
    cause: Cause | None = None
    seconds: float = 0.0
    peak_memory: int | None = None
    """Bytes: of the device on a GPU, else resident."""
    device_memory: int | None = None
    """Bytes that the GPU has."""
    node: str | None = None
    """The node of the cluster."""
    entries: tuple[str, ...] = ()
    """Names in the tables' log of what it wrote."""


def encode_order(order: Order) -> str:
    """Return an order as JSON; `decode_order` reads it."""
    plain = {f.name: getattr(order, f.name) for f in fields(order)}
    known = None if order.known is None else encode({"evaluations": order.known}).decode()
    parts = {"job": _job_data(order.job), "allotment": asdict(order.allotment), "known": known}
    return json.dumps({**plain, **parts})


def decode_order(text: str) -> Order:
    """Return the order that `encode_order` wrote."""
    data = json.loads(text)
    known = data["known"] and tuple(decode(data["known"].encode(), "an order")["evaluations"])
    return Order(
        **{
            **data,
            "job": _job(data["job"]),
            "allotment": Allotment(**data["allotment"]),
            "keep": tuple(data["keep"]),
            "avoid": tuple(data["avoid"]),
            "known": known,
        }
    )


def _job_data(job: Job) -> dict[str, Any]:
    stages: dict[str, dict[str, Any]] = {}  # parents before children
    for stage in (job.stage, *job.rewinds):
        _enter(stage, stages)
    return {
        "stages": stages,
        "stage": job.stage.key,
        "parents": job.parents,
        "attacks": job.attacks,
        "threat": job.threat and job.threat.model_dump(mode="json"),
        "labels": job.labels and dict(job.labels),
        "rewinds": [rewound.key for rewound in job.rewinds],
    }


def _enter(stage: Stage, stages: dict[str, dict[str, Any]]) -> None:
    if stage.key in stages:
        return
    parents = stage.parents
    for parent in parents.values():
        _enter(parent, stages)
    stages[stage.key] = {
        "kind": stage.kind,
        "spec": stage.model_dump(mode="json", exclude=set(parents)),
        "parents": {field: parent.key for field, parent in parents.items()},
    }


def _job(data: dict[str, Any]) -> Job:
    stages: dict[str, Stage] = {}
    for key, entry in data["stages"].items():
        parents = {field: stages[parent] for field, parent in entry["parents"].items()}
        stages[key] = STAGES[entry["kind"]].model_validate({**entry["spec"], **parents})
    rewinds = [stages[key] for key in data["rewinds"]]
    return Job(
        stage=stages[data["stage"]],
        parents=tuple(data["parents"]),
        attacks=tuple(data["attacks"]),
        threat=data["threat"] and Threat.model_validate(data["threat"]),
        labels=data["labels"],
        rewinds=tuple(r for r in rewinds if isinstance(r, Rewound)),
    )
