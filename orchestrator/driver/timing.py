"""Timing: a batch of each part that the jobs of each network have, before anything runs."""

from __future__ import annotations

import platform
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator

from orchestrator.driver.allotment import Allotments
from orchestrator.planning.estimates import PROBE, probe_of
from orchestrator.planning.plan import Job, Plan
from orchestrator.planning.work import (
    ON_FILES,
    REST,
    TESTED,
    images_in_words,
    training_part,
    trainings_of,
)
from orchestrator.state.rows import Row, now
from orchestrator.worker.device import device_name, prepare_process
from orchestrator.worker.stopwatch import Bench, Timed
from prune_core.data.outline import counted_images
from prune_core.specs.registry import ATTACKS
from prune_core.specs.stages import Sensitivity, dense_of

IN_ALL = 45.0
"""Seconds for all of them together; what there is no time for is counted."""
EACH = 4.0
"""Seconds for one, at most."""
RIGHT = 1 / 2
"""Of test images, that networks classify correctly while an attack goes on: others are let be. What
is counted of an attack that was stopped has this in it."""


def timed(plan: Plan, keys: Iterable[str], device: str) -> Iterator[Row]:
    """Time a batch of each part of some jobs, by network and data set; yield rows of ``jobs``.

    Args:
        plan: The plan.
        keys: Of the jobs.
        device: What to compute on.

    Raises:
        DatasetError: What the images are like is not known here.
    """
    prepare_process(device, 0)
    allotments = Allotments(plan.sweep.resources, device.startswith("cuda"))
    asked = _parts(plan.jobs[key] for key in keys)
    end, benches = time.perf_counter() + IN_ALL, dict[tuple[str, str], Bench]()
    for number, ((architecture, images, part), job) in enumerate(asked.items()):
        begun, clock, dense = now(), time.perf_counter(), dense_of(job.stage)
        if clock > end and (architecture, images) in benches:
            continue
        if (architecture, images) not in benches:
            benches[architecture, images] = Bench(dense, device)
        until = clock + min(EACH, max(0.0, end - clock) / (len(asked) - number))
        trained, tested = counted_images(dense.dataset)
        found = _timed(benches[architecture, images], part, job, tested, until)
        if found is None:
            continue
        allotment = allotments.of(job)
        yield {
            "key": f"{PROBE}-{uuid.uuid4().hex[:12]}",
            "kind": probe_of(part),
            "attempt": 1,
            "status": "done",
            "architecture": architecture,
            "batch_size": found.size,
            "dataset": images,
            "images": trained,
            "work": found.passes * _counted(part, found, job, trained / tested),
            "node": platform.node(),
            "device": device,
            "accelerator": device_name(device),
            "cpus": allotment.cpus,
            "gpus": allotment.gpus,
            "start": begun,
            "end": now(),
            "seconds": found.seconds,
        }


def _parts(jobs: Iterable[Job]) -> dict[tuple[str, str, str], Job]:
    """Return a job that has it for each network, data set and part, what takes longest first."""
    found: dict[tuple[str, str, str], Job] = {}
    passes: Counter[tuple[str, str, str]] = Counter()
    for job in jobs:
        images = images_in_words(dense_of(job.stage).dataset)
        for part, work in job.work.parts.items():
            if part != REST:
                found.setdefault((job.architecture, images, part), job)
                passes[job.architecture, images, part] += int(work.over(None))
    return dict(sorted(found.items(), key=lambda item: -passes[item[0]]))


def _timed(bench: Bench, part: str, job: Job, tested: int, until: float) -> Timed | None:
    for trained in trainings_of(job.stage):
        if trained.training is not None and training_part(trained.training) == part:
            return bench.training(trained, until)
    if isinstance(job.stage, Sensitivity):
        return bench.sensitivity(job.stage, until)
    if any(word in ATTACKS.arguments(part) for word in ON_FILES):
        return None  # as long as a look at the images as they are
    threat = next(each.threat for each in job.evaluations if each.attack == part)
    return bench.attack(part, threat, tested, until)


def _counted(part: str, found: Timed, job: Job, trained: float) -> float:
    """Return what a pass counts for: test images are counted as a share of those to train on.

    ``trained`` is how many of these there are for a test image.
    """
    if part not in ("clean", *job.attacks):
        return 1.0
    return TESTED * trained / (RIGHT if part in job.attacks and found.whole else 1.0)
