"""The attack of Carlini and Wagner under L2: a search for the nearest misclassified image.

Adam descends ``distance + weight * margin`` over a variable whose tanh is the image, so that pixels
stay in [0,1]. A binary search finds each image's smallest weight that gets it misclassified. All is
as published, but an image that is misclassified within the ball is not searched for a nearer one.

Source:
    Carlini and Wagner, 2017 (arXiv 1608.04644), and carlini/nn_robust_attacks, l2_attack.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prune_core.attacks.norms import NORMS
from prune_core.attacks.pgd import gaps

ROUNDS = 9
"""Of the binary search."""
FIRST_WEIGHT = 1e-3
INNER = 0.999999
"""Images are drawn so close to [0,1] before the inverse tanh, which is infinite at its edges."""
TRAVEL = 10.0
"""Adam's rate times its steps: the published rate of 0.01 is for 1,000 steps."""
STALLED = 0.9999
"""A descent ends where a tenth of its steps leaves so much of an image's loss, or more."""


@dataclass(frozen=True)
class _Descent:
    """What one round found for each image."""

    images: Tensor
    """The first that was misclassified within the ball; else the original."""
    broken: Tensor
    """Whether one was, [n]."""
    misclassified: Tensor
    """Whether an image was misclassified at any distance, [n]."""


def search(network: nn.Module, images: Tensor, labels: Tensor, radius: float, steps: int) -> Tensor:
    """Return images that are misclassified within the L2 ball; where none is found, the original.

    An image whose nearest adversarial image is outside the ball is therefore not broken: nothing is
    moved back to the ball's surface.

    Args:
        network: From images to logits [n, classes], in eval mode.
        images: [n, c, h, w] in [0,1], classified correctly.
        labels: [n].
        radius: The radius of the ball.
        steps: The largest number of Adam's steps in each of the 9 rounds; 1,000 as published.
    """
    attacked = images.clone()
    lower = torch.zeros(len(images), dtype=images.dtype, device=images.device)
    upper = torch.full_like(lower, torch.inf)
    weights = torch.full_like(lower, FIRST_WEIGHT)
    left = torch.arange(len(images), device=images.device)
    for _ in range(ROUNDS):
        found = _descend(network, images[left], labels[left], weights[left], radius, steps)
        attacked[left] = found.images
        tried = weights[left]
        upper[left] = torch.where(found.misclassified, tried, upper[left])
        lower[left] = torch.where(found.misclassified, lower[left], tried)
        weights = torch.where(upper.isinf(), weights * 10, (lower + upper) / 2)
        left = left[~found.broken]
        if not len(left):
            break
    return attacked


def _descend(
    network: nn.Module, images: Tensor, labels: Tensor, weights: Tensor, radius: float, steps: int
) -> _Descent:
    found = _Descent(images.clone(), *(torch.zeros_like(labels, dtype=torch.bool) for _ in "ab"))
    place = torch.arange(len(images), device=images.device)
    start = torch.atanh((2 * images - 1) * INNER)
    shift, mean, square = (torch.zeros_like(images) for _ in range(3))
    before = torch.full_like(weights, torch.inf)
    for step in range(1, steps + 1):
        shift.requires_grad_(True)
        with torch.enable_grad():
            moved = (torch.tanh(start + shift) + 1) / 2
            logits = network(moved)
            distances = (moved - images).square().flatten(1).sum(1)
            losses = distances - weights * gaps(logits, labels).clamp(max=0)
            (gradient,) = torch.autograd.grad(losses.sum(), shift)
        moved, losses = moved.detach(), losses.detach()
        wrong = logits.argmax(1) != labels
        first = wrong & (NORMS["l2"].length(moved - images) <= radius) & ~found.broken[place]
        found.misclassified[place] |= wrong
        found.broken[place] |= first
        found.images[place[first]] = moved[first]
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient.square()
        spread = (square / (1 - 0.999**step)).sqrt() + 1e-8
        shift = shift.detach() - TRAVEL / steps * mean / (1 - 0.9**step) / spread
        if (step - 1) % max(steps // 10, 1) == 0:
            on = ~found.broken[place] & (losses <= STALLED * before)
            if not on.any():
                break
            place, images, labels, weights, start, shift, mean, square, before = (
                each[on]
                for each in (place, images, labels, weights, start, shift, mean, square, losses)
            )
    return found
