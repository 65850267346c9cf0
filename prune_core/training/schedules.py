"""Schedules of the learning rate.

A schedule is a function ``(progress, training) -> share`` from the share of the training that is
behind, in [0,1], to a share of the peak rate. The settings that it reads are its
``settings``.
"""

from __future__ import annotations

import math

from prune_core.specs.recipes import Training
from prune_core.specs.registry import SCHEDULES, method


@method("constant")
def constant(progress: float, training: Training) -> float:
    """The same rate throughout."""
    del progress, training
    return 1.0


@method(
    "step",
    source="He et al., 2016",
    settings={"milestones": (0.5, 0.75), "lr_drop": 0.1},
)
def step(progress: float, training: Training) -> float:
    """The rate drops by a factor at milestones."""
    behind = sum(progress >= milestone for milestone in training.milestones or ())
    return float((training.lr_drop or 1.0) ** behind)


@method("cosine", source="Loshchilov and Hutter, 2017 (arXiv 1608.03983)")
def cosine(progress: float, training: Training) -> float:
    """Half a cosine from the peak to 0."""
    del training
    return 0.5 * (1 + math.cos(math.pi * progress))


@method("one-cycle", source="Smith, 2018 (arXiv 1803.09820)", settings={"warmup": 0.3})
def one_cycle(progress: float, training: Training) -> float:
    """A straight rise to the peak and a straight fall to 0."""
    top = training.warmup or 0.0
    return progress / top if progress < top else (1 - progress) / (1 - top)


def rate(training: Training, epochs: float) -> float:
    """Return the learning rate when so many (fractions of) epochs of a training are behind."""
    behind = training.schedule_start + epochs
    progress = min(1.0, behind / (training.schedule_start + training.epochs))
    share: float = SCHEDULES.load(training.schedule)(progress, training)
    return training.lr * share
