"""Optimizers: how a recipe makes one, and how a checkpoint keeps its state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from prune_core.specs.recipes import Training


def make_optimizer(
    network: nn.Module, training: Training, *, fused: bool = False
) -> torch.optim.Optimizer:
    """Return the optimizer that a recipe asks for, over all parameters of a network.

    Args:
        network: Whose parameters it changes.
        training: The recipe.
        fused: Whether its step is one kernel, which reads the rate where it computes.
    """
    optimizer: torch.optim.Optimizer
    if training.optimizer == "adamw":
        optimizer = torch.optim.AdamW(
            network.parameters(),
            lr=training.lr,
            betas=(training.momentum, 0.999),
            weight_decay=training.weight_decay,
            fused=fused or None,
        )
    else:
        optimizer = torch.optim.SGD(
            network.parameters(),
            lr=training.lr,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
            fused=fused or None,
        )
    if fused:
        device = next(network.parameters()).device
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(training.lr, dtype=torch.float32, device=device)
    return optimizer


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step, in place where it is a tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def state_of(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of an optimizer's state.

    Args:
        optimizer: An optimizer over the network's parameters.
        network: Names the parameters.

    Returns:
        Tensors by ``parameter.field``, for example ``network.conv.weight.momentum_buffer``.
    """
    return {
        f"{name}.{field}": value
        for name, parameter in network.named_parameters()
        for field, value in optimizer.state[parameter].items()
        if isinstance(value, Tensor)
    }


def restore_state(
    optimizer: torch.optim.Optimizer, network: nn.Module, state: dict[str, Tensor]
) -> None:
    """Set the state of an optimizer, in place.

    Args:
        optimizer: An optimizer over the network's parameters.
        network: Names the parameters.
        state: What `state_of` returned; tensors are copied to the device of their parameter.
    """
    parameters = dict(network.named_parameters())
    fused = optimizer.defaults["fused"]  # then it counts its steps where it makes them
    for name, value in state.items():
        parameter, _, field = name.rpartition(".")
        place = "cpu" if field == "step" and not fused else parameters[parameter].device
        optimizer.state[parameters[parameter]][field] = value.to(place, copy=True)
