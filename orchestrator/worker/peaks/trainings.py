"""Peaks: how much memory a training takes at once, before it runs.

Two steps are made of tensors without contents, and what would be alive is added up. Nothing is
counted of what libraries take while they compute, of a GPU's context, of blocks that its allocator
rounds up and keeps, and of graphs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from orchestrator.worker.peaks.hollow import hollow
from orchestrator.worker.peaks.live import dry, emptied
from prune_core.attacks.evaluation import BATCH, right
from prune_core.attacks.pgd import ascend
from prune_core.data.augmentation import flip_and_shift
from prune_core.data.datasets import Dataset
from prune_core.data.splits import Split
from prune_core.models.folding import Twin
from prune_core.models.state import evaluating
from prune_core.specs.compute import Compute
from prune_core.specs.recipes import Training
from prune_core.specs.settings import Threat
from prune_core.training.hydra import Learner
from prune_core.training.step import Step
from prune_core.training.watch import Watch

STEPS = 2
"""Of the attack and of the training: from the second on, they are all alike."""


class Images(NamedTuple):
    """What a device holds of a data set."""

    shape: tuple[int, int, int]
    classes: int
    train: int
    validation: int
    test: int
    extra: int = 0
    """Further ones to train on."""
    extra_share: float = 0.0
    """Their share of a batch."""

    def made(self) -> Dataset:
        """Return so many images of no contents in particular."""

        def split(count: int) -> Split:
            pixels = torch.empty((count, *self.shape), dtype=torch.uint8)
            return Split(pixels, torch.arange(count).remainder_(self.classes))

        train, validation, test = map(split, (self.train, self.validation, self.test))
        half = (0.5,) * self.shape[0]
        made = Dataset(train, validation, test, self.classes, half, half, flip_and_shift)
        if not self.extra:
            return made
        return replace(made, extra=split(self.extra), extra_share=self.extra_share)


def training_peak(
    network: nn.Module,
    images: Images,
    training: Training,
    threat: Threat | None,
    compute: Compute | None = None,
    teacher: nn.Module | None = None,
) -> int:
    """Return the bytes that are alive at once, at most, in a training.

    Args:
        network: What is trained, masks and all; it stays as it is, unless it learns scores.
        images: What it is trained on; they are on the same device.
        training: The recipe.
        threat: What the adversary may do; None for objectives without one.
        compute: Precision and kernels.
        teacher: The dense network, for objectives that need a teacher.

    Raises:
        Exception: A step asks for what tensors hold.
    """
    training = training.resolved()
    if training.attack_steps:
        training = training.model_copy(update={"attack_steps": min(training.attack_steps, STEPS)})
    compute = (compute or Compute()).model_copy(update={"compile": False})
    learner = network if isinstance(network, Learner) else None  # which reads its shares
    with dry() if learner is None else hollow() as live:
        trained = emptied(network) if learner is None else learner
        taught = teacher and emptied(teacher).eval()
        live.follow((*trained.parameters(), *trained.buffers()))
        if compute.channels_last:
            trained.to(memory_format=torch.channels_last)
        data = images.made()
        penalty = learner and learner.penalty
        step = Step(trained, data, training, threat, compute, taught, penalty)
        watch, best = _Watch(trained, training, threat, data.validation), list[Tensor]()
        for number in range(STEPS):  # each in an epoch of its own
            step.begin(number, "peak")
            trained.train()
            step.prepare(training.lr, number / STEPS)
            step(torch.arange(min(training.batch_size, images.train)))
            reported = step.average.network(trained)
            watch.look(reported)
            if training.selection == "validation" and not best:
                best += [tensor.clone() for tensor in reported.state_dict().values()]
    return live.peak


class _Watch:
    """What follows an epoch: validation images are looked at, and attacked where that counts."""

    def __init__(
        self, network: nn.Module, training: Training, threat: Threat | None, held_out: Split
    ):
        self._threat, self._held_out = threat, held_out
        # It is made before there are gradients, which copies of tensors without contents would
        # take along, as those of parameters do not.
        self._twin = Twin(network) if Watch(training, threat, 0).needed else None

    def look(self, network: nn.Module) -> None:
        images, labels = self._held_out.batch(slice(0, BATCH))
        with evaluating(network):
            if self._twin is not None and self._threat is not None:
                self._twin.refresh(network)
                ascend(self._twin, images, labels, self._threat, STEPS, self._threat.eps)
            right(network, images, labels)
