"""Contexts that change a mode or a random state and restore it afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into eval mode and give every layer its own mode back afterwards.

    Attacks and measurements use it: in training mode they would change BatchNorm's statistics.
    """
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators and restore their states afterwards.

    It is for code that takes no generator.

    Args:
        seed: The seed of the generators.
        device: Where that code computes; a GPU's generator is seeded as well.
    """
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield
