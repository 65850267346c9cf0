"""A network's state: loaded, or changed for a while and restored afterwards."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn


def load_tensors(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load a network's tensors by name, in place and strictly.

    Some networks (torchvision's MNASNet) refuse tensors that do not say of which version of their
    code they are; a file of tensors alone does not, and these are of the version that is here.
    """
    held = network.state_dict()  # it says so, whatever it holds
    held.clear()
    held.update(tensors)
    network.load_state_dict(held)


def copied(network: nn.Module) -> nn.Module:
    """Return a copy of a network; tensors that a forward pass left in it lose their history.

    Such as ``self.features = maps``: only tensors without history can be copied.
    """
    held = (value for module in network.modules() for value in vars(module).values())
    left = {id(each): each.detach() for each in _tensors(held) if not each.is_leaf}
    return copy.deepcopy(network, left)


def _tensors(values: Iterable[object]) -> Iterator[Tensor]:
    """Go through tensors, and those in lists and mappings."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
        elif isinstance(value, dict):
            yield from _tensors(value.values())


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
    """Seed the global generators of torch, numpy and Python; restore their states afterwards.

    It is for code that takes no generator.

    Args:
        seed: The seed of the generators.
        device: Where that code computes; a GPU's generator is seeded as well.
    """
    cuda = [device] if device.type == "cuda" else []
    plain, legacy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(legacy)
