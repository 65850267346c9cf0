"""The adversary of a training: how it starts and what it raises, by kind, on a faster twin."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from prune_core.attacks.pgd import Loss, Start, ascend, cross_entropy, divergence, pursue
from prune_core.data.datasets import Split
from prune_core.models.folding import Twin
from prune_core.models.state import evaluating
from prune_core.specs.recipes import Compute, Training
from prune_core.specs.settings import Threat

KINDS: dict[str, tuple[Start, Loss]] = {
    "pgd": ("uniform", cross_entropy),
    "trades": ("gaussian", divergence),
    "mart": ("gaussian", cross_entropy),
}
"""Where an attack of a kind starts and what it raises, as in the authors' code."""
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass
class Attacker:
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
        """Return adversarial images of one batch; ``kind`` is one of `KINDS`."""
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


def robust_accuracy(
    twin: Twin, split: Split, threat: Threat, steps: int, size: float, seed: int
) -> float:
    """Return the share of a split that is right after PGD; ``size`` of a step is in radii."""
    device = split.labels.device
    generator = torch.Generator(device).manual_seed(seed)
    right = 0
    for images, labels in split.batches(512):
        attacked = pursue(twin, images, labels, threat, steps, size * threat.eps, generator)
        with torch.no_grad():
            right += int((twin(attacked).argmax(1) == labels).sum())
    return right / len(split)
