"""Projected gradient ascent: the adversary inside training, sensitivities and evaluation.

One loop for every norm, loss and start; the tests hold it against closed forms and torchattacks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_core.attacks.norms import NORMS
from prune_core.models.state import evaluating
from prune_core.specs.settings import Threat

Start = Literal["uniform", "gaussian"]
"""Uniform in the ball (Madry et al.), or a Gaussian of 0.001 round the image (TRADES, MART)."""
Loss = Callable[[Tensor, Tensor], Tensor]
"""From logits [n, classes] and the target to a sum over images, so that no image's gradient
depends on how many others there are."""


BLOCK = 64
"""Lost images are dropped in blocks of so many: every new size of batch costs a kernel's set-up."""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with the labels [n]."""
    return F.cross_entropy(logits, labels, reduction="sum")


def divergence(logits: Tensor, probabilities: Tensor) -> Tensor:
    """Kullback-Leibler divergence from the probabilities [n, classes] of the clean images."""
    return F.kl_div(logits.log_softmax(1), probabilities, reduction="sum")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """How far the best wrong logit lies above the right one, no further than 0.

    The loss of Carlini and Wagner, 2017 (arXiv 1608.04644), without confidence.
    """
    right = logits.gather(1, labels.unsqueeze(1)).squeeze(1)
    wrong = logits.scatter(1, labels.unsqueeze(1), -torch.inf).amax(1)
    return (wrong - right).clamp(max=0).sum()


def step_size(threat: Threat, steps: int) -> float:
    """Return 2.5 eps / steps (Madry et al., 2018): the ball's edge is in reach from anywhere."""
    return 2.5 * threat.eps / steps


def ascend(
    network: nn.Module,
    images: Tensor,
    target: Tensor,
    threat: Threat,
    steps: int,
    size: float,
    generator: torch.Generator | None = None,
    loss: Loss = cross_entropy,
    start: Start = "uniform",
) -> Tensor:
    """Return adversarial images within ``threat`` and [0,1].

    The network is attacked in the mode that it is in; no gradient of a parameter is computed.

    Args:
        network: From images to logits [n, classes].
        images: [n, c, h, w] in [0,1].
        target: What the loss compares logits with: labels [n], or probabilities [n, classes].
        threat: The norm and the radius of the ball.
        steps: How many steps are taken.
        size: The length of a step in the threat's norm.
        generator: Draws the start, on the images' device; torch's own where it is None.
        loss: What the steps raise.
        start: How the start is drawn.

    Source:
        Madry et al., 2018 (arXiv 1706.06083).
    """
    adversarial = _begin(images, threat, generator, start)
    for _ in range(steps):
        adversarial, _ = _step(network, adversarial, images, target, threat, size, loss)
    return adversarial


def pursue(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    steps: int,
    size: float,
    generator: torch.Generator | None = None,
    loss: Loss = cross_entropy,
) -> Tensor:
    """Return adversarial images as `ascend` does, but go on with those not yet misclassified alone.

    An image is left where the network first gets it wrong, so at most as many are still right as
    after `ascend` from the same start, at a fraction of its cost.
    """
    attacked = images.clone()
    place = torch.arange(len(images), device=images.device)
    right = torch.ones_like(place, dtype=torch.bool)
    current = _begin(images, threat, generator, "uniform")
    for _ in range(steps):
        following, logits = _step(network, current, images, labels, threat, size, loss)
        lost = right & (logits.argmax(1) != labels)
        attacked[place[lost]] = current.detach()[lost]
        right &= ~lost
        count = int(right.sum())
        if count == 0:
            return attacked
        current, room = following, -(-count // BLOCK) * BLOCK
        if room < len(place):
            rest = right.int().argsort(descending=True, stable=True)[:room]
            place, images, labels, current, right = (
                each[rest] for each in (place, images, labels, current, right)
            )
    attacked[place[right]] = current[right]
    return attacked


def _begin(
    images: Tensor, threat: Threat, generator: torch.Generator | None, start: Start
) -> Tensor:
    norm = NORMS[threat.norm]
    if start == "uniform":
        noise = threat.eps * norm.start(images, generator)
    else:
        noise = 0.001 * torch.randn(images.shape, generator=generator, device=images.device)
        noise = norm.project(noise, threat.eps)
    return (images + noise).clamp_(0, 1)


def _step(
    network: nn.Module,
    current: Tensor,
    images: Tensor,
    target: Tensor,
    threat: Threat,
    size: float,
    loss: Loss,
) -> tuple[Tensor, Tensor]:
    """Return the images after a step, and the logits before it."""
    norm = NORMS[threat.norm]
    current.requires_grad_(True)
    with torch.enable_grad():
        logits = network(current)
        (gradient,) = torch.autograd.grad(loss(logits, target), current)
    moved = torch.add(current.detach(), norm.steepest(gradient), alpha=size)
    return (images + norm.project(moved.sub_(images), threat.eps)).clamp_(0, 1), logits.detach()


def pgd(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """Return images attacked by PGD on the cross-entropy, the network in eval mode."""
    with evaluating(network):
        return ascend(network, images, labels, threat, steps, step_size(threat, steps), generator)
