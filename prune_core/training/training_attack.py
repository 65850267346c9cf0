"""The attack of a training: how it starts and what it raises, by kind, on a faster twin.

It makes the images that an objective trains on. The attacks that networks are measured with are an
axis of methods, `prune_core.attacks.attacks`; both run on the ascent of `prune_core.attacks.pgd`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from prune_core.attacks.pgd import Loss, Start, ascend, cross_entropy, divergence
from prune_core.models.folding import Twin
from prune_core.models.state import evaluating
from prune_core.specs.recipes import Compute, Training
from prune_core.specs.settings import Threat

AttackFunction = Callable[[nn.Module, Tensor, Tensor, str], Tensor]
"""Attacked images of a network, its clean images, their labels, and one of `KINDS`."""
KINDS: dict[str, tuple[Start, Loss]] = {
    "pgd": ("uniform", cross_entropy),
    "trades": ("gaussian", divergence),
    "mart": ("gaussian", cross_entropy),
}
"""Where an attack of a kind starts and what it raises, as in the authors' code."""
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass
class TrainingAttack:
    """Attacks a network in training with the settings of its recipe.

    In mode eval the network is attacked through its `Twin`, which follows it from batch to batch;
    any other network is attacked as it is.
    """

    network: nn.Module
    training: Training
    threat: Threat
    compute: Compute = field(default_factory=Compute)
    generator: torch.Generator | None = None
    """Draws the starts; a training sets one for every epoch."""
    _twin: Twin | None = None

    def __call__(self, network: nn.Module, images: Tensor, labels: Tensor, kind: str) -> Tensor:
        """Return attacked images of one batch, each within the threat of its own.

        Args:
            network: The network to attack; its modes and weights stay as they are.
            images: Clean images [n, c, h, w] in [0,1].
            labels: Their classes [n].
            kind: One of `KINDS`.
        """
        if self.training.attack_mode == "train":
            return self._attack(network, images, labels, kind)
        if network is self.network:
            return self._attack(self._followed(), images, labels, kind)
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
            raise ValueError(f"a recipe without an attack: {self.training}")
        length = size * self.threat.eps
        return ascend(
            network, images, target, self.threat, steps, length, self.generator, loss, start
        )

    def _followed(self) -> Twin:
        if self._twin is None:
            self._twin = Twin(self.network, PRECISIONS[self.compute.precision])
            if self.compute.compile:
                self._twin.compile()
        else:
            self._twin.refresh(self.network)
        return self._twin
