"""Fast minimum-norm attacks: a search for each image's nearest misclassified image.

Every step raises the loss and puts the perturbation back into a ball of the image's own. The ball
shrinks while the image is misclassified and grows while it is not, so that the two meet at the
nearest boundary that the gradients lead to.

Source:
    Pintor et al., 2021 (arXiv 2102.12827), as jeromerony/adversarial-library has it; Mura et al.,
    2024 (arXiv 2407.08806), pralab/HO-FMN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.quasirandom import SobolEngine

from prune_core.attacks.norms import NORMS, TINY, each
from prune_core.attacks.pgd import gaps

SHRINK, LAST_SHRINK = 0.05, 0.001
"""The share by which a ball changes in a step, at first and at last."""
CLEAR = 1e-5
"""An image counts as misclassified if the wrong logit is ahead by so much of the largest: one that
is ahead by rounding alone is not in another batch."""
TRIALS_IMAGES, TRIAL_STEPS, STEPS = 64, 100, 200
"""Of HO-FMN as the adversarial pruning benchmark runs it."""
RATES, MOMENTA, DECAYS, DAMPENINGS = (8 / 255, 10.0), (0.0, 0.9), (0.01, 1.0), (0.0, 0.2)
"""What HO-FMN chooses among."""
Value = Callable[[Tensor, Tensor], Tensor]
"""From logits [n, classes] and labels [n] to what steps raise, [n]."""


@dataclass(frozen=True)
class _State:
    """What is known of each image in a step."""

    perturbation: Tensor
    gradient: Tensor
    values: Tensor
    lengths: Tensor
    """Of the perturbations."""
    cosine: float
    """From 1 at the first step to 0 after the last."""


Step = Callable[[_State], Tensor]
"""Returns the moved perturbations."""


def fmn(network: nn.Module, images: Tensor, labels: Tensor, norm: str, steps: int) -> Tensor:
    """Return the nearest misclassified images that normalised gradients lead to.

    Args:
        network: From images to logits [n, classes], in eval mode.
        images: [n, c, h, w] in [0,1], classified correctly.
        labels: [n].
        norm: What distance is.
        steps: How many are taken.

    Returns:
        Images of the same shape; the original where none was found.
    """
    dual = {"linf": 1, "l2": 2}[norm]

    def step(state: _State) -> Tensor:
        size = 0.01 + 0.99 * state.cosine
        return state.perturbation.add(NORMS["l2"].steepest(state.gradient), alpha=size)

    def boundary(state: _State) -> Tensor:
        """Return where the loss would turn if it were linear, and a thousandth more."""
        slopes = torch.linalg.vector_norm(state.gradient.flatten(1), ord=dual, dim=1)
        there = state.lengths.add(state.values.abs() / slopes.clamp(min=TINY))
        return there.mul(1 + LAST_SHRINK)

    return _search(network, images, labels, norm, steps, gaps, step, boundary)


def ho_fmn(network: nn.Module, images: Tensor, labels: Tensor, norm: str, trials: int) -> Tensor:
    """Return the nearest misclassified images that SGD of tuned settings leads to.

    The settings are those of ``trials`` that bring the first images nearest, by the median; a grid
    of low discrepancy draws them, where the authors' Gaussian process learns from earlier ones.
    For the other arguments and what is returned see `fmn`; there are at least three classes.
    """
    points = _points(trials)
    some = slice(TRIALS_IMAGES)

    def median(point: Tensor) -> float:
        found = descend(network, images[some], labels[some], norm, TRIAL_STEPS, point)
        lengths = NORMS[norm].length(found - images[some])
        return float(torch.where(lengths > 0, lengths, torch.inf).median())

    best = min(points, key=median)
    return descend(network, images, labels, norm, STEPS, best)


def descend(
    network: nn.Module, images: Tensor, labels: Tensor, norm: str, steps: int, point: Tensor
) -> Tensor:
    """Return the nearest images that SGD leads to, with the settings of a ``point``."""
    rate, momentum, decay, dampening = settings(point)
    velocity = torch.zeros(0)

    def step(state: _State) -> Tensor:
        nonlocal velocity
        drift = NORMS[norm].steepest(state.gradient) - decay * state.perturbation
        first = not len(velocity)
        velocity = drift if first else momentum * velocity + (1 - dampening) * drift
        return state.perturbation.add(velocity, alpha=rate * state.cosine)

    def nowhere(state: _State) -> Tensor:
        return torch.full_like(state.lengths, torch.inf)

    return _search(network, images, labels, norm, steps, _ratios, step, nowhere)


def settings(point: Tensor) -> tuple[float, float, float, float]:
    """Return rate, momentum, weight decay and dampening of a point [4] in the unit cube."""
    ranges = (tuple(map(math.log, RATES)), MOMENTA, DECAYS, DAMPENINGS)
    low, high = torch.tensor(ranges, dtype=point.dtype).T
    rate, momentum, decay, dampening = (low + (high - low) * point).tolist()
    return math.exp(rate), momentum, decay, dampening


def _points(count: int) -> Tensor:
    """Return points of low discrepancy in the unit cube of four settings, always the same."""
    engine = SobolEngine(4, scramble=True, seed=0)  # type: ignore[no-untyped-call]  # torch's
    return engine.draw(count, dtype=torch.float64)


def _ratios(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the gaps over the distance of the first and the third logit, [n] (Croce and Hein)."""
    ordered = logits.topk(3, dim=1).values
    return gaps(logits, labels) / (ordered[:, 0] - ordered[:, 2] + TINY)


def _search(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    norm: str,
    steps: int,
    value: Value,
    step: Step,
    reach: Callable[[_State], Tensor],
) -> Tensor:
    """Return the nearest misclassified images; ``reach`` is a ball's radius before one is found."""
    length, nearest = NORMS[norm].length, images.clone()
    farthest = length(torch.maximum(images, 1 - images))
    best, radius = farthest.clone(), torch.full_like(farthest, torch.inf)
    found = torch.zeros_like(labels, dtype=torch.bool)
    perturbation = torch.zeros_like(images)
    for index in range(steps):
        cosine = (1 + math.cos(math.pi * index / steps)) / 2
        change = LAST_SHRINK + (SHRINK - LAST_SHRINK) * cosine
        moved = (images + perturbation).requires_grad_(True)
        with torch.enable_grad():
            logits = network(moved)
            values = value(logits, labels)
            (gradient,) = torch.autograd.grad(values.sum(), moved)
        lengths = length(perturbation)
        state = _State(perturbation, gradient, values.detach(), lengths, cosine)
        lost = gaps(logits.detach(), labels) > CLEAR * logits.detach().abs().amax(1)
        nearer = lost & (lengths < best)
        best = torch.where(nearer, lengths, best)
        nearest = torch.where(each(nearer), moved.detach(), nearest)
        found |= lost
        wider = torch.where(found, radius * (1 + change), reach(state))
        radius = torch.where(lost, torch.minimum(radius * (1 - change), best), wider)
        radius = torch.minimum(radius, farthest)
        perturbation = NORMS[norm].project(step(state), radius)
        perturbation = (images + perturbation).clamp(0, 1) - images
    return nearest
