"""The adversary inside training and sensitivities: a tight projected gradient ascent.

For evaluation see `prune_core.attacks`, which goes through torchattacks; the tests hold the two
against each other.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_core.modes import evaluating
from prune_core.specs import Threat


def step_size(threat: Threat, steps: int) -> float:
    """Return 2.5 eps / steps (Madry et al., 2018): the ball's edge is in reach from anywhere."""
    return 2.5 * threat.eps / steps


def pgd(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """Return adversarial images within ``threat`` and [0,1]; source: Madry et al., 2018.

    ``images`` [n, c, h, w] in [0,1]; ``generator`` lives on their device and draws the uniform
    start. The network is attacked in eval mode and left as it was found; no gradient of a
    parameter is computed.
    """
    eps, size = threat.eps, step_size(threat, steps)
    low, high = (images - eps).clamp_min_(0), (images + eps).clamp_max_(1)
    noise = torch.rand(images.shape, generator=generator, device=images.device)
    adversarial = (images + (2 * noise - 1) * eps).clamp_(0, 1)
    with evaluating(network):
        for _ in range(steps):
            adversarial.requires_grad_(True)
            with torch.enable_grad():
                loss = F.cross_entropy(network(adversarial), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, adversarial)
            adversarial = adversarial.detach().add_(gradient.sign_(), alpha=size)
            adversarial = torch.minimum(torch.maximum(adversarial, low), high)
    return adversarial
