"""Evaluation: which test images a network gets right, clean and under attack."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import nn

from prune_core.datasets import Split
from prune_core.identity import derive_seed
from prune_core.modes import evaluating, seeded
from prune_core.registry import ATTACKS
from prune_core.stages import Evaluation

BATCH = 512
"""Part of what an attack's random start depends on: a change needs a new version of Evaluation."""


@dataclass(frozen=True)
class Outcome:
    """One attack on one network: right or wrong for every test image, in their order."""

    correct: tuple[bool, ...]
    seconds: float

    @property
    def accuracy(self) -> float:
        """The share of images still classified rightly."""
        return sum(self.correct) / len(self.correct)


def evaluate(network: nn.Module, test: Split, stage: Evaluation) -> Outcome:
    """Attack every test image once; the network is left as it was found."""
    attack = ATTACKS.load(stage.attack)
    device = test.labels.device
    start = time.perf_counter()
    correct: list[bool] = []
    with evaluating(network), seeded(derive_seed(stage.key, "attack"), device):
        for images, labels in test.batches(BATCH):
            attacked = attack(network, images, labels, stage.threat)
            _within(attacked, images, stage)
            with torch.no_grad():
                correct += (network(attacked).argmax(1) == labels).tolist()
    return Outcome(tuple(correct), time.perf_counter() - start)


def accuracy(network: nn.Module, split: Split) -> float:
    """Return the share of a split that is classified rightly, without an attack."""
    with evaluating(network), torch.no_grad():
        right = sum(
            int((network(images).argmax(1) == labels).sum())
            for images, labels in split.batches(BATCH)
        )
    return right / len(split)


def _within(attacked: torch.Tensor, images: torch.Tensor, stage: Evaluation) -> None:
    """Trust no attack: what leaves the ball or the range of images is an error, not a result."""
    radius = stage.threat.eps if stage.threat else 0.0
    slack = 1e-6
    if (
        (attacked - images).abs().max() > radius + slack
        or attacked.min() < -slack
        or attacked.max() > 1 + slack
    ):
        raise RuntimeError(f"attack {stage.attack!r} left its ball of radius {radius} or [0,1]")
