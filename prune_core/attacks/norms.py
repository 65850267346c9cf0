"""Norms: what a gradient attack needs of a norm.

That is a random start in the ball, the step of length 1 that raises a linear loss most, and the
projection onto the ball. Tensors are [n, c, h, w]; the norm is that of each image.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

TINY = 1e-12
"""Added to a norm before dividing by it, so that a norm of 0 gives a finite result."""


class Norm(Protocol):
    """A norm, as gradient attacks need it."""

    def start(self, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return random perturbations in the unit ball, shaped as ``like``."""

    def steepest(self, gradient: Tensor) -> Tensor:
        """Return the perturbations of length 1 along which a linear loss rises most."""

    def project(self, perturbation: Tensor, radius: float | Tensor) -> Tensor:
        """Return the nearest perturbations within ``radius``, one for all or each its own [n]."""

    def length(self, perturbation: Tensor) -> Tensor:
        """Return every perturbation's norm [n]."""


class Linf:
    """The largest change of any pixel."""

    def start(self, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return perturbations uniform in the unit ball."""
        return 2 * torch.rand(like.shape, generator=generator, device=like.device) - 1

    def steepest(self, gradient: Tensor) -> Tensor:
        """Return the sign of the gradient."""
        return gradient.sign()

    def project(self, perturbation: Tensor, radius: float | Tensor) -> Tensor:
        """Clip every pixel's change."""
        if isinstance(radius, Tensor):
            return torch.minimum(torch.maximum(perturbation, -each(radius)), each(radius))
        return perturbation.clamp(-radius, radius)

    def length(self, perturbation: Tensor) -> Tensor:
        """Return every perturbation's largest absolute change [n]."""
        return perturbation.abs().flatten(1).amax(1)


class L2:
    """The Euclidean length of the change."""

    def start(self, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return perturbations of uniform direction and uniform length, as torchattacks does."""
        device = like.device
        noise = torch.randn(like.shape, generator=generator, device=device)
        share = torch.rand(len(like), generator=generator, device=device)
        return noise * each(share / (self.length(noise) + TINY))

    def steepest(self, gradient: Tensor) -> Tensor:
        """Return the gradient, normalised."""
        return gradient / each(self.length(gradient) + TINY)

    def project(self, perturbation: Tensor, radius: float | Tensor) -> Tensor:
        """Shorten what is longer than the radius."""
        return perturbation * each((radius / (self.length(perturbation) + TINY)).clamp(max=1))

    def length(self, perturbation: Tensor) -> Tensor:
        """Return every perturbation's Euclidean length [n]."""
        lengths: Tensor = torch.linalg.vector_norm(perturbation.flatten(1), dim=1)
        return lengths


NORMS: dict[str, Norm] = {"linf": Linf(), "l2": L2()}


def each(values: Tensor) -> Tensor:
    """Return one value an image [n] in a shape that fits images, [n, 1, 1, 1]."""
    return values.view(-1, 1, 1, 1)
