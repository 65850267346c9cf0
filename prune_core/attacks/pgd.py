"""Projected gradient ascent: the adversary of training, sensitivities and evaluation.

One loop serves every norm, loss and start. Tests compare it with closed forms and torchattacks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_core.attacks.norms import NORMS, each
from prune_core.models.state import evaluating
from prune_core.specs.settings import Threat

Start = Literal["uniform", "gaussian", "image"]
"""Uniform in the ball (Madry et al.), Gaussian with deviation 0.001 (TRADES, MART), or no noise."""
Loss = Callable[[Tensor, Tensor], Tensor]
"""From logits [n, classes] and the target to a sum over images. It is a sum so that the gradient of
an image does not depend on the number of images."""
BLOCK = 64
"""Batches shrink in multiples of so many images, since each new size costs a kernel's set-up."""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of logits [n, classes] with labels [n], summed."""
    return F.cross_entropy(logits, labels, reduction="sum")


def divergence(logits: Tensor, probabilities: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence from probabilities [n, classes], summed."""
    return F.kl_div(logits.log_softmax(1), probabilities, reduction="sum")


def gaps(logits: Tensor, labels: Tensor) -> Tensor:
    """Return each image's best wrong logit minus the correct one, [n]."""
    right = logits.gather(1, labels.unsqueeze(1)).squeeze(1)
    wrong = logits.scatter(1, labels.unsqueeze(1), -torch.inf).amax(1)
    return wrong - right


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the images' gaps, each at most 0, summed.

    Source:
        Carlini and Wagner, 2017 (arXiv 1608.04644), with confidence 0.
    """
    return gaps(logits, labels).clamp(max=0).sum()


def step_size(threat: Threat, steps: int) -> float:
    """Return 2.5 eps / steps: from any start, the steps reach the edge (Madry et al., 2018)."""
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

    The network stays in its mode. Gradients of parameters are not computed.

    Args:
        network: From images to logits [n, classes].
        images: [n, c, h, w] in [0,1].
        target: What the loss compares logits with: labels [n], or probabilities [n, classes].
        threat: The norm and the radius of the ball.
        steps: The number of steps.
        size: The length of a step in the threat's norm.
        generator: Draws the start, on the images' device; None for torch's global generator.
        loss: The loss that the steps raise.
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
    """Return adversarial images as `ascend` does, but stop at an image once it is misclassified.

    From the same start, at most as many images are classified correctly as after `ascend`, at a
    fraction of its cost. For the arguments see `ascend`; labels are [n].
    """
    attacked = images.clone()
    place = torch.arange(len(images), device=images.device)
    right = torch.ones_like(place, dtype=torch.bool)
    current = _begin(images, threat, generator, "uniform")
    for _ in range(steps):
        following, logits = _step(network, current, images, labels, threat, size, loss)
        lost = right & (logits.argmax(1) != labels)
        _keep(attacked, place, lost, current.detach())
        right &= ~lost
        count = int(right.sum())  # the one look from the host in a step: it buys smaller batches
        if count == 0:
            return attacked
        current, room = following, -(-count // BLOCK) * BLOCK
        if room < len(place):
            rest = right.int().argsort(descending=True, stable=True)[:room]
            place, images, labels, current, right = (
                tensor[rest] for tensor in (place, images, labels, current, right)
            )
    _keep(attacked, place, right, current)
    return attacked


def _keep(attacked: Tensor, place: Tensor, chosen: Tensor, current: Tensor) -> None:
    """Write the chosen images [m] to their places [m] among those that were attacked [n]."""
    before = attacked.index_select(0, place)
    attacked.index_copy_(0, place, torch.where(each(chosen), current, before))


def _begin(
    images: Tensor, threat: Threat, generator: torch.Generator | None, start: Start
) -> Tensor:
    norm = NORMS[threat.norm]
    if start == "image":
        return images.clone()
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
    """Return the images after one step, and the logits before it."""
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
    """Return images attacked by PGD on the cross-entropy, with the network in eval mode.

    For the arguments see `ascend`; labels are [n], and a step is 2.5 eps / steps long.
    """
    with evaluating(network):
        return ascend(network, images, labels, threat, steps, step_size(threat, steps), generator)
