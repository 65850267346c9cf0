"""Attacks that compute in a lower precision than what judges them.

An attack leaves an image as soon as the network that it sees misclassifies it, and cannot move on
where two classes tie there: their margin has no gradient. The fewer bits, the more often both
happen to images that the network in float32 has right. These are attacked again, in float32. What
is left withstood all steps of an attack by gradients that were rounded.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from prune_core.attacks.evaluation import right
from prune_core.attacks.kernels import tf32
from prune_core.attacks.pgd import gaps
from prune_core.models.folding import Twin
from prune_core.specs.settings import Threat

Attack = Callable[[nn.Module, Tensor, Tensor, Threat], Tensor]


def _copied(network: nn.Module) -> nn.Module:
    return network.in_bfloat16() if isinstance(network, Twin) else Twin(network, torch.bfloat16)


def _same(network: nn.Module) -> nn.Module:
    return network


@dataclass(frozen=True)
class Precision:
    """How an attack computes.

    Attributes:
        network: From a network to what is attacked in its place.
        kernels: What holds meanwhile.
        rounding: Logits that are nearer than this share of the largest may tie.
    """

    network: Callable[[nn.Module], nn.Module]
    kernels: Callable[[], AbstractContextManager[None]]
    rounding: float


BFLOAT16 = Precision(_copied, nullcontext, 2.0**-7)
TF32 = Precision(_same, partial(tf32, allowed=True), 2.0**-10)


def attacked_in(
    precision: Precision,
    attack: Attack,
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
) -> Tensor:
    """Return images attacked in a precision; those that it cannot decide, in float32.

    Args:
        precision: How the attack computes.
        attack: The attack.
        network: From images to logits [n, classes], in float32 and in eval mode.
        images: [n, c, h, w] in [0,1], classified correctly.
        labels: [n].
        threat: The norm and the radius.
    """
    seen = precision.network(network)
    with precision.kernels():
        attacked = attack(seen, images, labels, threat).clone()
        clear = _clearly_right(seen, attacked, labels, precision.rounding)
    unsure = right(network, attacked, labels) & ~clear
    if unsure.any():
        attacked[unsure] = attack(network, images[unsure], labels[unsure], threat)
    return attacked


@torch.no_grad()
def _clearly_right(network: nn.Module, images: Tensor, labels: Tensor, rounding: float) -> Tensor:
    """Return for each image [n] whether its class is ahead by more than rounding."""
    logits = network(images)
    clear: Tensor = gaps(logits, labels) < -rounding * logits.abs().amax(1)
    return clear
