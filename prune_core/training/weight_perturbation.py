"""Adversarial weight perturbation: the step of the weights, and a network at other weights.

Source:
    Wu et al., 2020 (arXiv 2004.05884); the objective `prune_core.training.objectives.awp`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.func import functional_call

from prune_core.training.training_attack import AttackFunction


def perturbed_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return what is perturbed, by name: weights that are no vector, or scores that are trained."""
    return {
        name: parameter
        for name, parameter in network.named_parameters()
        if parameter.requires_grad
        and (name.startswith("_scores.") or (parameter.dim() > 1 and "weight" in name))
    }


def perturbation(weight: Tensor, gradient: Tensor, mask: Tensor | None, gamma: float) -> Tensor:
    """Return the step of a layer's weights that raises the loss most.

    Args:
        weight: The layer's weights, of any shape.
        gradient: The gradient of the loss by them, of the same shape.
        mask: Which weights pruning kept; the others stay at zero. None if nothing is masked.
        gamma: The length of the step as a share of the norm of the weights.
    """
    if mask is not None:
        gradient = gradient * mask
    step: Tensor = gamma * weight.detach().norm() / (gradient.norm() + 1e-12) * gradient
    return step


class AtWeights(nn.Module):
    """A network at other weights or buffers than its own.

    Args:
        network: The network; it stays as it is.
        weights: Parameters or buffers by their names in the network. Gradients pass through them.
    """

    def __init__(self, network: nn.Module, weights: dict[str, Tensor]):
        super().__init__()
        self.network = network
        self._weights = weights

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [n, classes]."""
        logits: Tensor = functional_call(self.network, self._weights, (images,))
        return logits


@dataclass
class AttackMemory:
    """Keeps the images that one pass attacks, so that the next pass trains on the same ones.

    Attributes:
        network: The network to attack, at its own weights.
        training_attack: The attack of the training; None if it has none.
        images: What the attacks returned so far.
    """

    network: nn.Module
    training_attack: AttackFunction | None
    images: list[Tensor] = field(default_factory=list)
    _replayed: int = 0

    def record(self, network: nn.Module, images: Tensor, labels: Tensor, kind: str) -> Tensor:
        """Attack the images and keep the result; an `AttackFunction`."""
        del network
        if self.training_attack is None:
            raise ValueError("an objective that attacks needs a threat")
        self.images.append(self.training_attack(self.network, images, labels, kind))
        return self.images[-1]

    def replay(self, network: nn.Module, images: Tensor, labels: Tensor, kind: str) -> Tensor:
        """Return the recorded images in the order of the recording; an `AttackFunction`."""
        del network, images, labels, kind
        self._replayed += 1
        return self.images[self._replayed - 1]
