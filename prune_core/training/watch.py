"""Robustness on validation images, followed from epoch to epoch."""

from __future__ import annotations

import torch
from torch import nn

from prune_core.attacks.pgd import pursue
from prune_core.data.splits import Split
from prune_core.models.folding import Twin
from prune_core.specs.recipes import Training
from prune_core.specs.settings import Threat

WATCHED = 512
"""Validation images, at most, that robustness is followed on."""
STEPS = 10
"""Steps of PGD, of 2.5 eps / steps each, that it is followed with."""


class Watch:
    """Follows a training's robustness where it is asked for.

    It is what an epoch is chosen by, and what shows that a training on one step collapses.
    """

    def __init__(self, training: Training, threat: Threat | None, seed: int):
        self._threat, self._seed = threat, seed
        one_step = training.attack_steps == 1
        self._asked = threat is not None and (one_step or training.selection == "validation")
        self._step = training.attack_step if one_step else None
        self._twin: Twin | None = None

    def accuracies(self, network: nn.Module, held_out: Split) -> tuple[float | None, float | None]:
        """Return the accuracy under PGD-10, and under the one step that the training takes.

        Each is None where it is not asked for.
        """
        if not self._asked or self._threat is None:
            return None, None
        split = Split(held_out.images[:WATCHED], held_out.labels[:WATCHED])
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
    """Return the share of a split that is right after PGD.

    Args:
        twin: The network, folded.
        split: The images to attack.
        threat: The norm and the radius.
        steps: Steps of PGD.
        size: Length of a step, in radii.
        seed: Of the starts.
    """
    device = split.labels.device
    generator = torch.Generator(device).manual_seed(seed)
    right = 0
    for images, labels in split.batches(512):
        attacked = pursue(twin, images, labels, threat, steps, size * threat.eps, generator)
        with torch.no_grad():
            right += int((twin(attacked).argmax(1) == labels).sum())
    return right / len(split)
