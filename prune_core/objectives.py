"""Objectives: the loss that a training step descends.

An objective is a function ``(network, images, labels, context) -> (loss, logits)``, with the
network in training mode; logits are those of the images that the loss was taken on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_core.adversary import pgd as ascend
from prune_core.registry import method
from prune_core.specs import Threat


@dataclass(frozen=True)
class Context:
    """What an adversarial objective needs besides the batch; None where it has no adversary."""

    threat: Threat | None
    attack_steps: int | None
    generator: torch.Generator


@method("standard")
def standard(
    network: nn.Module, images: Tensor, labels: Tensor, context: Context
) -> tuple[Tensor, Tensor]:
    """Cross-entropy on clean images."""
    del context
    logits = network(images)
    return F.cross_entropy(logits, labels), logits


@method("pgd", source="Madry et al., 2018 (arXiv 1706.06083)", needs=("threat",))
def pgd(
    network: nn.Module, images: Tensor, labels: Tensor, context: Context
) -> tuple[Tensor, Tensor]:
    """Cross-entropy on adversarial images, made in eval mode by PGD."""
    if context.threat is None or context.attack_steps is None:
        raise ValueError("objective 'pgd' needs a threat and attack_steps")
    attacked = ascend(
        network, images, labels, context.threat, context.attack_steps, context.generator
    )
    logits = network(attacked)
    return F.cross_entropy(logits, labels), logits
