"""A network as if units were cut out of it, without cutting: for measuring what they are worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from prune_core.pruning.prunable.groups import PrunableModule


@contextmanager
@torch.no_grad()
def without(network: nn.Module, module: PrunableModule, gone: Sequence[int]) -> Iterator[None]:
    """Have a network compute as if units of a module were removed; then as before.

    A channel is closed where it is read, so that nothing of it is left, neither its normalisation's
    shift nor a coupled layer's share. This gives the pruned network's logits, except where a layer
    between mixes channels: a LayerNorm or GroupNorm still sees those that are closed.

    Args:
        network: The network.
        module: One of its prunable modules.
        gone: The units to remove.
    """
    gate = torch.ones(module.units)
    gate[list(gone)] = 0
    origins: dict[str, Tensor] = {}
    for member in module.members:
        if member.side not in ("in", "weight"):
            continue
        weight = network.get_parameter(f"{member.layer}.weight")
        origins.setdefault(member.layer, weight.detach().clone())
        weight.copy_(member.gated(weight, gate.to(weight)))
    try:
        yield
    finally:
        for layer, origin in origins.items():
            network.get_parameter(f"{layer}.weight").copy_(origin)
