"""Policies: the weights from which a pruned network is trained on.

A policy is a function ``(network, seed) -> None`` that prepares the pruned network in place.
"""

from __future__ import annotations

from torch import nn

from prune_core.modes import seeded
from prune_core.registry import method


@method("none")
def none(network: nn.Module, seed: int) -> None:
    """No fine-tuning at all."""
    del network, seed


@method("finetune", source="Han et al., 2015 (arXiv 1506.02626)")
def finetune(network: nn.Module, seed: int) -> None:
    """Train on from the weights that pruning left."""
    del network, seed


@method(
    "iterative", source="Han et al., 2015 (arXiv 1506.02626); rounds as Frankle and Carbin, 2019"
)
def iterative(network: nn.Module, seed: int) -> None:
    """Prune in rounds of geometric steps and train on from the weights after each."""
    del network, seed


@method("scratch", source="Liu et al., 2019 (arXiv 1810.05270)")
def scratch(network: nn.Module, seed: int) -> None:
    """Train the pruned architecture from new random weights: the control of every pruning."""
    device = next(network.parameters()).device
    with seeded(seed, device):
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear | nn.BatchNorm2d):
                module.reset_parameters()
