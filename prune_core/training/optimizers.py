"""Optimizers: made from a recipe; their state as tensors by name, for checkpoints."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from prune_core.specs.recipes import Training


def make_optimizer(network: nn.Module, training: Training) -> torch.optim.Optimizer:
    """Return the optimizer of a recipe."""
    if training.optimizer == "adamw":
        return torch.optim.AdamW(
            network.parameters(),
            lr=training.lr,
            betas=(training.momentum, 0.999),
            weight_decay=training.weight_decay,
        )
    return torch.optim.SGD(
        network.parameters(),
        lr=training.lr,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
    )


def state_of(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """Return an optimizer's state by ``parameter.field``, as the network names its parameters."""
    return {
        f"{name}.{field}": value
        for name, parameter in network.named_parameters()
        for field, value in optimizer.state[parameter].items()
        if isinstance(value, Tensor)
    }


def restore_state(
    optimizer: torch.optim.Optimizer, network: nn.Module, state: dict[str, Tensor]
) -> None:
    """Give an optimizer the state that `state_of` returned, on the parameters' device."""
    parameters = dict(network.named_parameters())
    for name, value in state.items():
        parameter, _, field = name.rpartition(".")
        place = "cpu" if field == "step" else parameters[parameter].device
        optimizer.state[parameters[parameter]][field] = value.to(place, copy=True)
