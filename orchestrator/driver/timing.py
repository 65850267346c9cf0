"""Timing: a batch of each network on each data set, as training has it, before anything runs."""

from __future__ import annotations

import platform
import statistics
import time
import uuid
from collections.abc import Iterable, Iterator

import torch
from torch import nn
from torch.nn import functional as F

from orchestrator.driver.allotment import Allotments
from orchestrator.planning.estimates import PROBE
from orchestrator.planning.plan import Job, Plan
from orchestrator.planning.work import TRAINING, images_in_words
from orchestrator.state.rows import Row, now
from orchestrator.worker.device import device_name, prepare_process
from prune_core.data.outline import outline, training_images
from prune_core.models import architectures
from prune_core.specs.stages import Dense, dense_of

IN_ALL = 50.0
"""Seconds for all networks together."""
EACH = 4.0
"""Seconds for one, at most."""
FIRST = 8
"""Images of the first batch: a whole one may take minutes, and needs other memory."""


def timed(plan: Plan, keys: Iterable[str], device: str) -> Iterator[Row]:
    """Time a batch for each network and data set of some jobs; yield rows of ``jobs``.

    Args:
        plan: The plan.
        keys: Of the jobs.
        device: What to compute on.

    Raises:
        DatasetError: What the images are like is not known here.
    """
    prepare_process(device, 0)
    allotments = Allotments(plan.sweep.resources, device.startswith("cuda"))
    jobs: dict[tuple[str, str], Job] = {}
    for job in map(plan.jobs.__getitem__, keys):
        dense = dense_of(job.stage)
        jobs.setdefault((job.architecture, images_in_words(dense.dataset)), job)
    for (architecture, images), job in jobs.items():
        dense, start, clock = dense_of(job.stage), now(), time.perf_counter()
        size, steps = _steps(dense, device, min(EACH, IN_ALL / len(jobs)), clock)
        allotment = allotments.of(job)
        yield {
            "key": f"{PROBE}-{uuid.uuid4().hex[:12]}",
            "kind": PROBE,
            "attempt": 1,
            "status": "done",
            "architecture": architecture,
            "batch_size": size,
            "dataset": images,
            "images": training_images(dense.dataset),
            "work": TRAINING * size * len(steps),
            "node": platform.node(),
            "device": device,
            "accelerator": device_name(device),
            "cpus": allotment.cpus,
            "gpus": allotment.gpus,
            "start": start,
            "end": now(),
            "seconds": statistics.median(steps) * len(steps),  # others may use the machine too
        }


def _steps(dense: Dense, device: str, limit: float, began: float) -> tuple[int, list[float]]:
    """Return the images of a step, the largest that there is time for, and seconds of some."""
    shape, classes = outline(dense.dataset)
    even = (0.5,) * shape[0]
    network = architectures.build(dense.architecture, shape, classes, even, even, seed=0)
    network.to(device).train()
    size, most = min(FIRST, dense.training.batch_size), dense.training.batch_size
    _step(network, shape, classes, size, device)  # the first one makes plans and takes memory
    while True:
        seconds = _step(network, shape, classes, size, device)
        if size == most or 8 * seconds > began + limit - time.perf_counter():
            break
        size = min(2 * size, most)
    steps = [seconds]
    while len(steps) < 20 and time.perf_counter() - began < limit:
        steps.append(_step(network, shape, classes, size, device))
    return size, steps


def _step(
    network: nn.Module, shape: tuple[int, int, int], classes: int, size: int, device: str
) -> float:
    """Return the seconds of a step forwards and backwards."""
    images = torch.rand(size, *shape, device=device)
    labels = torch.arange(size, device=device) % classes
    start = _clock(device)
    loss = F.cross_entropy(network(images), labels)
    torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
    return _clock(device) - start


def _clock(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()
