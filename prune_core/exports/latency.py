"""How long a network takes on a device: measured, since MACs do not say it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prune_core.models.state import evaluating
from prune_core.pruning.prunable.groups import Shape

BATCHES = (1, 128)
WARM, LEAST_RUNS, SECONDS = 3, 10, 0.5
"""Runs before any is counted; then as many as fit into the time, and no fewer."""


@dataclass(frozen=True)
class Latency:
    """The time of a batch: median over runs, in seconds."""

    batch: int
    seconds: float
    runs: int

    @property
    def images_per_second(self) -> float:
        """The throughput."""
        return self.batch / self.seconds


def measure(network: nn.Module, shape: Shape, seconds: float = SECONDS) -> list[Latency]:
    """Return the time that a network takes for each of `BATCHES`, where its weights are.

    Args:
        network: It stays as it is.
        shape: The shape of an image.
        seconds: About how long each is measured.
    """
    device = next(network.parameters()).device
    with evaluating(network), torch.inference_mode():
        found = []
        for batch in BATCHES:
            times = list(_times(network, torch.zeros(batch, *shape, device=device), seconds))
            found.append(Latency(batch, statistics.median(times), len(times)))
    return found


def weight_bytes(network: nn.Module) -> int:
    """Return how many bytes a network's tensors take in a file; masks are merged into weights."""
    held = {name: t for name, t in network.state_dict().items() if not name.endswith(".mask")}
    return sum(tensor.numel() * tensor.element_size() for tensor in held.values())


def _times(network: nn.Module, images: Tensor, seconds: float) -> Iterator[float]:
    for _ in range(WARM):
        network(images)
    end, runs = time.perf_counter() + seconds, 0
    while runs < LEAST_RUNS or time.perf_counter() < end:
        _wait(images.device)
        start = time.perf_counter()
        network(images)
        _wait(images.device)
        yield time.perf_counter() - start
        runs += 1


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
