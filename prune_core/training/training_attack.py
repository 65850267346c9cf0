"""The attack of a training, which makes the images that an objective trains on.

It is not one of the attacks that networks are evaluated with: those are in
`prune_core.attacks.attacks`. Both use the gradient ascent of `prune_core.attacks.pgd`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from prune_core.attacks.pgd import Loss, Start, ascend, cross_entropy, divergence
from prune_core.models.folding import Twin
from prune_core.models.state import evaluating
from prune_core.specs.compute import Compute
from prune_core.specs.recipes import Training
from prune_core.specs.settings import Threat

AttackFunction = Callable[[nn.Module, Tensor, Tensor, str], Tensor]
"""From a network, clean images, their labels and one of `KINDS` to attacked images."""
KINDS: dict[str, tuple[Start, Loss]] = {
    "pgd": ("uniform", cross_entropy),
    "trades": ("gaussian", divergence),
    "mart": ("gaussian", cross_entropy),
}
"""Where each kind of attack starts and which loss it raises, as in the authors' code."""
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""The number formats of `prune_core.specs.compute.Compute`."""


@dataclass
class TrainingAttack:
    """Attacks the images of a training, with the settings of its recipe.

    With ``attack_mode`` eval, ``network`` is attacked through its faster `Twin`, which takes over
    the current weights before each batch. Any other network is attacked directly.

    Attributes:
        network: The network in training.
        training: The recipe.
        threat: The norm and the radius.
        compute: The precision of the attack, and whether it is compiled.
        generator: Draws the random starts; the training sets a new one for every epoch.
    """

    network: nn.Module
    training: Training
    threat: Threat
    compute: Compute = field(default_factory=Compute)
    generator: torch.Generator | None = None
    _twin: Twin | None = None

    def __call__(self, network: nn.Module, images: Tensor, labels: Tensor, kind: str) -> Tensor:
        """Return the attacked images of one batch, each within the threat around its own image.

        Args:
            network: The network to attack; its weights stay as they are.
            images: Clean images [n, c, h, w] in [0,1].
            labels: Their classes [n].
            kind: One of `KINDS`.
        """
        if self.training.attack_mode == "train":
            return self._attack(network, images, labels, kind)
        if network is self.network:
            return self._attack(self._current_twin(), images, labels, kind)
        with evaluating(network):
            return self._attack(network, images, labels, kind)

    def _attack(self, network: nn.Module, images: Tensor, labels: Tensor, kind: str) -> Tensor:
        start, loss = KINDS[kind]
        target = labels
        if loss is divergence:
            with torch.no_grad():
                target = network(images).float().softmax(1)
        steps, size = self.training.attack_steps, self.training.attack_step
        if steps is None or size is None:
            raise ValueError(
                f"objective {self.training.objective!r} has no attack: its recipe sets neither "
                "attack_steps nor attack_step"
            )
        length = size * self.threat.eps
        return ascend(
            network, images, target, self.threat, steps, length, self.generator, loss, start
        )

    def _current_twin(self) -> Twin:
        if self._twin is None:
            self._twin = Twin(self.network, PRECISIONS[self.compute.precision])
            if self.compute.compile:
                self._twin.compile()
        else:
            self._twin.refresh(self.network)
        return self._twin
