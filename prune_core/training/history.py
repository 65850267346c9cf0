"""What a training reports after each epoch, and the checkpoints that it resumes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor

from prune_core.specs.recipes import Training


@dataclass(frozen=True)
class Epoch:
    """What one epoch of a training reports. Accuracies are shares in [0,1].

    Attributes:
        epoch: The number of the epoch, from 1.
        loss: The mean of the objective over the images.
        train_accuracy: On the images that were trained on, which are adversarial under an
            adversarial objective.
        validation_accuracy: On clean validation images.
        validation_robust: On validation images under PGD-10; None if the training does not need it
            (see `prune_core.training.watch.Watch`).
        validation_one_step: On validation images under the one-step attack of the training; None
            if its attack takes more steps.
        lr: The learning rate at the end of the epoch.
        seconds: How long the epoch took, without validation.
        images_per_second: Training images per second.
        reported: Whether the training ends with the weights after this epoch; None while it goes
            on.
        collapsed: Whether the network overfitted to its one-step attack (see `collapses`).
        graphs: How many steps were replayed, and why not more; None if it was not asked for.
    """

    epoch: int
    loss: float
    train_accuracy: float
    validation_accuracy: float
    validation_robust: float | None
    validation_one_step: float | None
    lr: float
    seconds: float
    images_per_second: float
    reported: bool | None = None
    collapsed: bool = False
    graphs: str | None = None

    @property
    def withstood(self) -> float:
        """The accuracy under PGD-10 as a share of that under the training's own one-step attack."""
        if self.validation_one_step is None or self.validation_robust is None:
            return 1.0
        return self.validation_robust / max(self.validation_one_step, 1e-9)


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a training needs to resume: its tensors and the epochs that are done."""

    tensors: dict[str, Tensor]
    history: list[Epoch] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Return everything but the tensors, as JSON values."""
        return {"history": [asdict(epoch) for epoch in self.history]}

    @classmethod
    def of(cls, tensors: dict[str, Tensor], facts: dict[str, Any]) -> Checkpoint:
        """Return the checkpoint of these tensors and of what `facts` returned."""
        return cls(tensors, [Epoch(**epoch) for epoch in facts["history"]])


def best_epoch(history: Sequence[Epoch], training: Training) -> int:
    """Return the index of the epoch to report.

    It is the last one, or, if the recipe selects by validation, the one with the highest accuracy
    under PGD-10 or else the highest clean accuracy. Of equal epochs it is the earliest.

    Args:
        history: The epochs so far, at least one.
        training: The recipe.
    """
    if training.selection == "last":
        return len(history) - 1

    def accuracy(index: int) -> float:
        epoch = history[index]
        robust = epoch.validation_robust
        return epoch.validation_accuracy if robust is None else robust

    return max(range(len(history)), key=accuracy)


def collapses(history: Sequence[Epoch]) -> list[bool]:
    """Return for each epoch whether the network overfitted to the one-step attack of its training.

    It has if it withstands that attack but not PGD-10. It withstands the attack if its accuracy
    under it is at least half the clean accuracy. It does not withstand PGD-10 if its accuracy under
    it is less than a tenth of that under the one step, or less than half if it was half or more in
    an earlier epoch.

    Args:
        history: The epochs of a training from its start.

    Source:
        Catastrophic overfitting: Wong et al., 2020 (arXiv 2001.03994), section 5.3.
    """
    collapsed = []
    for index, epoch in enumerate(history):
        sound_before = any(before.withstood >= 0.5 for before in history[:index])
        one_step = epoch.validation_one_step or 0.0
        withstands = one_step >= epoch.validation_accuracy / 2
        collapsed.append(withstands and epoch.withstood < (0.5 if sound_before else 0.1))
    return collapsed


def judged(history: Sequence[Epoch], training: Training) -> list[Epoch]:
    """Return the epochs of a training that has ended, with ``reported`` and ``collapsed`` set."""
    chosen = best_epoch(history, training) if history else -1
    return [replace(e, reported=index == chosen) for index, e in enumerate(so_far(history))]


def so_far(history: Sequence[Epoch]) -> list[Epoch]:
    """Return the epochs of a training that goes on, with ``collapsed`` set."""
    marked = zip(history, collapses(history), strict=True)
    return [replace(epoch, collapsed=collapsed, reported=None) for epoch, collapsed in marked]
