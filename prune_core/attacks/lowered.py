"""Attacks that compute on a copy of a network in bfloat16.

An attack leaves an image as soon as the copy misclassifies it, and cannot move on where two classes
tie in it: their margin has no gradient there. bfloat16 has 8 significant bits, so both happen to
images that the network in float32 has right. These are attacked again, in float32. What is left
withstood all steps of an attack by gradients that were rounded.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from prune_core.attacks.evaluation import right
from prune_core.attacks.pgd import gaps
from prune_core.models.folding import Twin
from prune_core.specs.settings import Threat

ROUNDING = 2.0**-7
"""Logits that are nearer than this share of the largest may be one number in bfloat16."""
Attack = Callable[[nn.Module, Tensor, Tensor, Threat], Tensor]


def in_bfloat16(
    attack: Attack, network: nn.Module, images: Tensor, labels: Tensor, threat: Threat
) -> Tensor:
    """Return images attacked in bfloat16; those that this cannot decide, in float32.

    Args:
        attack: The attack.
        network: From images to logits [n, classes], in float32 and in eval mode.
        images: [n, c, h, w] in [0,1], classified correctly.
        labels: [n].
        threat: The norm and the radius.
    """
    lowered = network.in_bfloat16() if isinstance(network, Twin) else Twin(network, torch.bfloat16)
    attacked = attack(lowered, images, labels, threat).clone()
    unsure = right(network, attacked, labels) & ~_clearly_right(lowered, attacked, labels)
    if unsure.any():
        attacked[unsure] = attack(network, images[unsure], labels[unsure], threat)
    return attacked


@torch.no_grad()
def _clearly_right(lowered: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return for each image [n] whether its class is ahead by more than rounding."""
    logits = lowered(images)
    clear: Tensor = gaps(logits, labels) < -ROUNDING * logits.abs().amax(1)
    return clear
