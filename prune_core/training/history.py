"""What a training reports and from where it goes on: epochs and checkpoints, as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor

from prune_core.specs.recipes import Training


@dataclass(frozen=True)
class Epoch:
    """What one epoch of training reports; accuracies are shares, times are seconds."""

    epoch: int
    loss: float
    train_accuracy: float
    """On the images as trained on: adversarial ones under an adversarial objective."""
    validation_accuracy: float
    validation_robust: float | None
    """Under PGD-10; None without an adversary, or where no choice or collapse asks for it."""
    validation_one_step: float | None
    """Under the one step that it trains on, of a network that trains on one."""
    lr: float
    """At the end of the epoch."""
    seconds: float
    images_per_second: float
    reported: bool = False
    """Whether the weights after this epoch are those that the training ends with."""
    collapsed: bool = False
    """See `collapses`."""

    @property
    def withstood(self) -> float:
        """The share that PGD-10 leaves right of what the one step of the training does."""
        if self.validation_one_step is None or self.validation_robust is None:
            return 1.0
        return self.validation_robust / max(self.validation_one_step, 1e-9)


@dataclass(frozen=True)
class Checkpoint:
    """Everything from which a training goes on: tensors, and the epochs behind it."""

    tensors: dict[str, Tensor]
    history: list[Epoch] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Return what is not a tensor, ready for JSON."""
        return {"history": [asdict(epoch) for epoch in self.history]}

    @classmethod
    def of(cls, tensors: dict[str, Tensor], facts: dict[str, Any]) -> Checkpoint:
        """Put a checkpoint together again from its two parts."""
        return cls(tensors, [Epoch(**epoch) for epoch in facts["history"]])


def best_epoch(history: Sequence[Epoch], training: Training) -> int:
    """Return the index of the epoch to report: the last, or the best by validation.

    The best is the most robust one under an adversarial objective, else the most accurate one; the
    earliest of equals.
    """
    if training.selection == "last":
        return len(history) - 1

    def merit(index: int) -> float:
        epoch = history[index]
        robust = epoch.validation_robust
        return epoch.validation_accuracy if robust is None else robust

    return max(range(len(history)), key=merit)


def collapses(history: Sequence[Epoch]) -> list[bool]:
    """Say after which epochs a network withstands the one step of its training and not PGD-10.

    Catastrophic overfitting (Wong et al., 2020, section 5.3): one step leaves right at least half
    of what is right without an attack, PGD-10 less than half of that where it once left more, or
    less than a tenth whatever was before.
    """
    collapsed = []
    for index, epoch in enumerate(history):
        sound_before = any(before.withstood >= 0.5 for before in history[:index])
        one_step = epoch.validation_one_step or 0.0
        withstands = one_step >= epoch.validation_accuracy / 2
        collapsed.append(withstands and epoch.withstood < (0.5 if sound_before else 0.1))
    return collapsed


def judged(history: Sequence[Epoch], training: Training) -> list[Epoch]:
    """Mark the epoch whose weights the training ends with, and those that collapsed."""
    chosen = best_epoch(history, training) if history else -1
    return [
        replace(epoch, reported=index == chosen, collapsed=collapsed)
        for index, (epoch, collapsed) in enumerate(zip(history, collapses(history), strict=True))
    ]
