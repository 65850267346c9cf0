"""Orders: what an executor is told to do, and what it says of how that ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orchestrator.planning.plan import Job

Cause = Literal["error", "system", "storage", "memory", "lost", "time"]
"""Why an attempt failed: an error of its own; the system's; the storage root; no memory; its worker
died; it ran into its time limit."""

ATTEMPTS: dict[Cause, int] = {
    "error": 1, "system": 3, "storage": 3, "memory": 2, "lost": 3, "time": 2,
}  # fmt: skip
"""Attempts at a job before a failure of each cause is its last; what is certain to come again is
not tried again, and memory that ran out is given once more, doubled."""


@dataclass(frozen=True)
class Share:
    """What a job takes while it runs."""

    cpus: float = 1.0
    gpus: float = 0.0
    memory: int | None = None
    """Bytes of the machine's memory."""
    accelerator: str | None = None
    """The model of GPU, as Ray names it."""


@dataclass(frozen=True)
class Order:
    """One attempt at a job: what, where, with what."""

    job: Job
    root: str
    device: str
    keep: tuple[str, ...] = ()
    """Stages whose networks stay in storage."""
    attempt: int = 1
    share: Share = Share()
    time_limit: float | None = None
    """Seconds after which the job is taken to hang."""
    avoid: tuple[str, ...] = ()
    """Nodes of the cluster that it hung on."""
    driver: str | None = None
    """Whose lease the job is done under; under none where it is left out."""
    first: bool = False
    """Whether the driver's first attempt: what is done by then, another driver did."""


@dataclass(frozen=True)
class Outcome:
    """How one attempt at a job ended."""

    key: str
    status: Literal["done", "failed", "elsewhere"]
    """``elsewhere``: nothing was done, for another driver has the job in hand."""
    error: str | None = None
    cause: Cause | None = None
    seconds: float = 0.0
    peak_memory: int | None = None
    """Bytes: of the device on a GPU, else resident."""
    device_memory: int | None = None
    """Bytes that the GPU has."""
    node: str | None = None
    """The node of the cluster."""
