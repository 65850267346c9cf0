"""Robustness on validation images, measured after every epoch."""

from __future__ import annotations

import torch
from torch import nn

from prune_core.attacks.pgd import pursue
from prune_core.data.splits import Split, drawn
from prune_core.models.folding import Twin
from prune_core.specs.recipes import Training
from prune_core.specs.settings import Threat

WATCHED = 1024
"""The largest number of validation images that are attacked."""
STEPS = 10
"""The steps of PGD; each is 2.5 eps / STEPS long."""


class Watch:
    """Measures the robustness of a training if it is needed.

    It is needed to select an epoch by validation, and to see whether a training with a one-step
    attack collapses (see `prune_core.training.history.collapses`).

    Args:
        training: The recipe.
        threat: The norm and the radius; None if there is no adversary.
        seed: The seed of the sample of images and of the random starts.

    Attributes:
        needed: Whether anything is measured.
    """

    def __init__(self, training: Training, threat: Threat | None, seed: int):
        self._threat, self._seed = threat, seed
        one_step = training.attack_steps == 1
        self.needed = threat is not None and (one_step or training.selection == "validation")
        self._step = training.attack_step if one_step else None
        self._twin: Twin | None = None

    def accuracies(self, network: nn.Module, held_out: Split) -> tuple[float | None, float | None]:
        """Return the accuracies under PGD-10 and under the training's own one-step attack.

        Args:
            network: The network in training.
            held_out: The validation images; a sample of `WATCHED` of them is attacked.

        Returns:
            Two shares in [0,1]; each is None if it is not needed.
        """
        if not self.needed or self._threat is None:
            return None, None
        split = held_out.take(drawn(held_out.labels, WATCHED, self._seed))
        if self._twin is None:
            self._twin = Twin(network)
        else:
            self._twin.refresh(network)
        twin, threat, seed = self._twin, self._threat, self._seed
        robust = robust_accuracy(twin, split, threat, STEPS, 2.5 / STEPS, seed)
        if self._step is None:
            return robust, None
        return robust, robust_accuracy(twin, split, threat, 1, self._step, seed)


def robust_accuracy(
    twin: Twin, split: Split, threat: Threat, steps: int, size: float, seed: int
) -> float:
    """Return the accuracy of a network under PGD, as a share in [0,1].

    Args:
        twin: The folded copy of the network.
        split: The images to attack.
        threat: The norm and the radius.
        steps: The number of steps.
        size: The length of a step in radii of the threat.
        seed: The seed of the random starts.
    """
    device = split.labels.device
    generator = torch.Generator(device).manual_seed(seed)
    right = 0
    for images, labels in split.batches(512):
        attacked = pursue(twin, images, labels, threat, steps, size * threat.eps, generator)
        with torch.no_grad():
            right += int((twin(attacked).argmax(1) == labels).sum())
    return right / len(split)
