"""Several trainings on one device: how long an epoch takes each, in processes and in threads.

It is a part of `benchmarks/gpu.py`. Threads share one process: there each has a stream of its own,
and what they draw at random is no one's own, so that only the time of it is of use.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from typing import Any, NamedTuple, Protocol

import torch

from prune_core.data.augmentation import flip_and_shift
from prune_core.data.datasets import Dataset
from prune_core.data.splits import Split
from prune_core.models import architectures
from prune_core.specs.compute import Compute
from prune_core.specs.recipes import Training
from prune_core.specs.settings import Threat
from prune_core.training.history import Checkpoint, Epoch
from prune_core.training.loop import fit

EPOCH = 50_000
PATIENCE = 300.0
"""Seconds that trainings wait for each other."""


class Case(NamedTuple):
    """What each of them trains."""

    architecture: str
    side: int
    batch: int
    batches: int
    steps: int
    profile: str
    device: str


class Meeting(Protocol):
    """Where all wait for the last one."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait."""


def drawn(side: int, count: int, device: torch.device) -> Dataset:
    """Return so many random images of CIFAR-10's kind; one of them is for validation."""
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, 3, side, side), generator=draw).to(torch.uint8)
    split = Split(pixels, torch.arange(count) % 10).to(device)
    one = split.take(torch.arange(1, device=device))
    return Dataset(split, one, one, 10, (0.5,) * 3, (0.25,) * 3, flip_and_shift)


def trained(case: Case, seed: int, meeting: Meeting) -> tuple[float, float]:
    """Return when the second epoch of a training began and ended; all begin it together."""
    torch.set_num_threads(1)
    device = torch.device(case.device)
    settings = {"objective": "pgd", "epochs": 2, "batch_size": case.batch}
    recipe = Training.model_validate({**settings, "attack_steps": case.steps}).resolved()
    data = drawn(case.side, case.batch * case.batches, device)
    network = architectures.build(case.architecture, data.shape, 10, data.mean, data.std, seed)
    times: list[float] = []

    def note(history: Sequence[Epoch], _: Callable[[], Checkpoint]) -> None:
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()
        if len(history) == 1:
            meeting.wait(PATIENCE)
        times.append(time.monotonic())

    stream: Any = nullcontext()
    if device.type == "cuda":
        stream = torch.cuda.stream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]  # torch's own
    with stream:
        compute = Compute.model_validate({"profile": case.profile})
        fit(network.to(device), data, recipe, Threat(), str(seed), compute=compute, on_epoch=note)
    return times[0], times[1]


def together(case: Case, count: int, way: str) -> float:
    """Return the seconds of an epoch of 50,000 images of so many trainings, for each of them.

    Args:
        case: What each trains.
        count: How many there are.
        way: In ``processes`` or in ``threads``.
    """
    if way == "threads":
        return _timed(case, count, ThreadPoolExecutor(count), threading.Barrier(count))
    context = get_context("spawn")
    with context.Manager() as manager:
        pool = ProcessPoolExecutor(count, mp_context=context)
        return _timed(case, count, pool, manager.Barrier(count))


def _timed(case: Case, count: int, pool: Executor, meeting: Meeting) -> float:
    with pool:
        runs = [pool.submit(trained, case, seed, meeting) for seed in range(count)]
        begun, ended = zip(*(run.result() for run in runs), strict=True)
    whole = max(ended) - min(begun)
    return whole * EPOCH / (case.batch * case.batches) / count
