"""One step of a training: a batch drawn, attacked, learned from, averaged.

A step asks the device for nothing: the host reads no number of it, and no shape depends on what
images hold. What differs from step to step (the rate, the shares of an average) lies in tensors
that stay where they are, and so does all that a step changes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
from torch import Tensor, nn

from prune_core.data.datasets import Dataset
from prune_core.data.extra import mixed
from prune_core.pruning.prunable.masks import Held
from prune_core.specs.compute import Compute
from prune_core.specs.keys import derive_seed
from prune_core.specs.recipes import Training
from prune_core.specs.registry import OBJECTIVES
from prune_core.specs.settings import Threat
from prune_core.training.averaging import Average
from prune_core.training.growth import Rewiring
from prune_core.training.objectives import Context
from prune_core.training.optimizers import make_optimizer, set_rate
from prune_core.training.training_attack import PRECISIONS, TrainingAttack


class Step:
    """The steps of one training. For the arguments see `prune_core.training.loop.fit`.

    Attributes:
        optimizer: Changes the weights.
        average: The average of the weights.
        device: Where it computes.
        generators: All that a step draws from; `begin` seeds them.
        phases: How many kinds of steps there are: those of AWP's warm-up are another.
        loss: The sum of the losses of the epoch's images so far.
        right: How many of them were classified correctly.
    """

    def __init__(
        self,
        network: nn.Module,
        data: Dataset,
        training: Training,
        threat: Threat | None,
        compute: Compute,
        teacher: nn.Module | None,
        penalty: Callable[[int], Tensor] | None,
    ):
        self.optimizer = make_optimizer(network, training, fused=compute.fused)
        self.average = Average(network, training)
        self._network, self._data, self._compute, self._penalty = network, data, compute, penalty
        self.device = data.train.labels.device
        self._training, self._progress = training, 0.0
        self.phases = 1 + bool(training.awp_warmup)
        self.generators = {
            purpose: torch.Generator(self.device) for purpose in ("augmentation", "attack")
        }
        attack = None
        if threat:
            attack = TrainingAttack(network, training, threat, compute, self.generators["attack"])
        self._context = Context(training, attack, teacher)
        self._objective = OBJECTIVES.load(training.objective)
        self._held = Held(network)
        self._epoch = 0
        self.loss, self.right = (torch.zeros((), device=self.device) for _ in range(2))

    def begin(self, epoch: int, key: str) -> None:
        """Begin an epoch, counted from 0: seed what is drawn from, and count from nothing."""
        self._epoch = epoch
        for purpose, generator in self.generators.items():
            generator.manual_seed(derive_seed(key, epoch, purpose))
        self._held.refresh()
        for counted in (self.loss, self.right):
            counted.zero_()

    def prepare(self, rate: float, progress: float) -> None:
        """Set what changes from step to step.

        Args:
            rate: The learning rate.
            progress: The share of the training that is done, in [0,1].
        """
        set_rate(self.optimizer, rate)
        self.average.before_step()
        self._context = replace(self._context, progress=progress)
        self._progress = progress

    @property
    def phase(self) -> tuple[bool, ...]:
        """What the host decides about the step that was prepared: steps of a phase are alike."""
        return self.average.begins, self._progress < (self._training.awp_warmup or 0)

    def __call__(
        self, positions: Tensor, rewiring: Rewiring | None = None, number: int = 0
    ) -> None:
        """Make the step that was prepared.

        Args:
            positions: Of its images among the training images [n], on their device.
            rewiring: What changes the masks in this step; None if they stay.
            number: Of the step in the training, counted from 1, where masks change.
        """
        images, labels = self._batch(positions)
        with self._precision():
            loss, logits = self._objective(self._network, images, labels, self._context)
        if self._penalty is not None:
            loss = loss + self._penalty(self._epoch)
        self.optimizer.zero_grad()
        loss.backward()
        if rewiring is None or not rewiring.rule.replaces_step:
            self.optimizer.step()
        if rewiring is not None:
            rewiring.apply(number)
            self.average.after_rewiring(self._network)
            self._held.refresh()
        self._held.hold()
        self.average.after_step(self._network)
        self.loss += loss.detach() * len(labels)
        self.right += (logits.detach().argmax(1) == labels).sum()

    def formatted(self, images: Tensor) -> Tensor:
        """Return images in the memory format that the network is trained in."""
        if self._compute.channels_last:
            return images.contiguous(memory_format=torch.channels_last)
        return images

    def _batch(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        data, augmentation = self._data, self.generators["augmentation"]
        images, labels = data.train.batch(positions)
        if data.extra is not None:
            images, labels = mixed(images, labels, data.extra, data.extra_share, augmentation)
        return self.formatted(data.augment(images, augmentation)), labels

    def _precision(self) -> AbstractContextManager[object]:
        precision = PRECISIONS[self._compute.precision]
        return torch.autocast(self.device.type, precision, enabled=precision != torch.float32)
