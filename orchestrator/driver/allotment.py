"""Allotments: what each job is given of a machine.

The sweep file says it, or what was measured of earlier jobs like it, or what was foreseen of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.planning.attempt import Allotment, AttemptResult, Process
from orchestrator.planning.plan import Job
from orchestrator.planning.work import images_in_words
from orchestrator.sweepfile.resources import Resources, Takes
from prune_core.specs.stages import dense_of

Likeness = tuple[object, ...]
"""What `likeness` returns."""
LEARNED = (
    "status",
    "kind",
    "architecture",
    "batch_size",
    "dataset",
    "peak_memory",
    "device_memory",
)
"""The columns of ``jobs`` that tell what jobs of a kind take."""
MARGIN = 1.25
"""Of memory, over the highest peak that was measured or foreseen."""
STEP = 0.05
"""Allotments of a GPU are multiples of this: fewer distinct ones start faster."""


class Allotments:
    """Says what a job takes; learns from jobs that ended."""

    def __init__(self, resources: Resources, on_gpu: bool):
        self._resources = resources
        self._on_gpu = on_gpu
        self._peaks: dict[Likeness, float] = {}
        self._foreseen: dict[Likeness, float] = {}
        self._smallest = math.inf

    def learn(self, like: Likeness, peak: float | None, total: float | None) -> None:
        """Take in the peak of a job that was done, on a GPU with ``total`` bytes."""
        if peak and total:
            self._peaks[like] = max(self._peaks.get(like, 0.0), peak / total)
            self.see(total)

    def see(self, total: float) -> None:
        """Take in that there is a GPU with ``total`` bytes."""
        self._smallest = min(self._smallest, total)

    def foresee(self, like: Likeness, peak: float) -> None:
        """Take in how many bytes of a GPU a job like these is to take, until one was measured."""
        self._foreseen[like] = max(self._foreseen.get(like, 0.0), peak)

    def take_in(self, job: Job, result: AttemptResult) -> None:
        """Take in how an attempt ended: what a job took that did not end well says nothing.

        One whose memory ran out needs more than it had. What was foreseen of it was wrong then.
        """
        like, ran_out = likeness(job), result.cause == "memory"
        wrong = ran_out and self._foreseen.pop(like, None) is not None and like not in self._peaks
        if result.status == "done" or (ran_out and not wrong):
            self.learn(like, result.peak_memory, result.device_memory)

    def unknown(self, job: Job) -> bool:
        """Say whether a job's share is to be found, and nothing was measured that tells it."""
        auto = self._on_gpu and self.takes(job).gpus == "auto"
        return auto and likeness(job) not in self._peaks

    def learn_all(self, jobs: Iterable[Mapping[str, Any]]) -> None:
        """Take in rows of the table ``jobs``."""
        for row in jobs:
            if row["status"] != "done":
                continue
            like = (row["kind"], row["architecture"], row["batch_size"], row["dataset"])
            self.learn(like, row["peak_memory"], row["device_memory"])

    def of(self, job: Job, grown: int = 0) -> Allotment:
        """Return what a job is given; doubled for every time that its memory ran out."""
        takes = self.takes(job)
        gpus = 0.0
        if self._on_gpu:
            gpus = self._found(job) if takes.gpus == "auto" else float(takes.gpus or 0)
            gpus = min(1.0, gpus * 2**grown)
        return Allotment(
            cpus=takes.cpus or 1,
            gpus=gpus,
            memory=takes.memory and takes.memory * 2**grown,
            accelerator=takes.accelerator if gpus else None,
        )

    def process(self, job: Job) -> Process:
        """Return where a job runs: on a GPU in a process that gives back all memory as it ends."""
        said = self.takes(job).process
        if said is None or said == "auto":
            return "fresh" if self.of(job).gpus else "worker"
        return said

    def can_grow(self, job: Job, grown: int) -> bool:
        """Say whether there is more memory to give to a job than it had."""
        return self.of(job, grown + 1) != self.of(job, grown)

    def takes(self, job: Job) -> Takes:
        """Return what the file says of a job: of its kind before its architecture, before all."""
        rules = self._resources
        layers: list[Takes] = [rules]
        layers += filter(None, [rules.architectures.get(job.architecture)])
        layers += [takes for kind, takes in rules.kinds.items() if kind == job.kind]
        stated: dict[str, Any] = {}
        for layer in layers:
            values = {name: getattr(layer, name) for name in Takes.model_fields}
            stated |= {name: value for name, value in values.items() if value is not None}
        return Takes(**stated)

    def _found(self, job: Job) -> float:
        """Return the share of a GPU that jobs like this one needed, or are to need, or a whole one.

        What is foreseen counts against the smallest GPU that is known.
        """
        like = likeness(job)
        share = self._peaks.get(like)
        if share is None and like in self._foreseen and self._smallest < math.inf:
            share = self._foreseen[like] / self._smallest
        if share is None:
            return 1.0
        return min(1.0, math.ceil(round(share * MARGIN / STEP, 6)) * STEP)


def likeness(job: Job) -> tuple[str, str, int | None, str]:
    """Return what jobs have in common that take the same memory: their images too."""
    images = images_in_words(dense_of(job.stage).dataset)
    return job.kind, job.architecture, job.batch_size, images
