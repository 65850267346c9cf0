"""Attacks for evaluation, through torchattacks.

An attack is a function ``(network, images, labels, threat) -> images`` on a network in eval mode;
``pgd-<k>`` is given ``k`` as well, from its name (``pgd-20``). Random starts
draw from torch's own generator, which `prune_core.evaluation` seeds.
"""

from __future__ import annotations

import torchattacks
from torch import Tensor, nn

from prune_core.adversary import step_size
from prune_core.registry import method
from prune_core.specs import Threat


@method("clean")
def clean(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat | None) -> Tensor:
    """No attack at all."""
    del network, labels, threat
    return images


@method("fgsm", source="Goodfellow et al., 2015 (arXiv 1412.6572)", needs=("threat",))
def fgsm(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> Tensor:
    """One signed gradient step of length eps."""
    attacked: Tensor = torchattacks.FGSM(network, eps=threat.eps)(images, labels)
    return attacked


@method("pgd-<k>", source="Madry et al., 2018 (arXiv 1706.06083)", needs=("threat",))
def pgd(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat, k: int) -> Tensor:
    """Projected gradient ascent of k steps of 2.5 eps / k from a random start."""
    attack = torchattacks.PGD(
        network, eps=threat.eps, alpha=step_size(threat, k), steps=k, random_start=True
    )
    attacked: Tensor = attack(images, labels)
    return attacked
