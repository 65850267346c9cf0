"""Schedules of the learning rate by name.

A schedule is a function ``(progress, training) -> share``. ``progress`` is the share of the
training that is done, in [0,1]; ``share`` is the factor on the peak learning rate. The fields of
the recipe that it reads are its ``settings``.
"""

from __future__ import annotations

import math

from prune_core.specs.recipes import Training
from prune_core.specs.registry import SCHEDULES, method


@method("constant")
def constant(progress: float, training: Training) -> float:
    """The learning rate does not change."""
    del progress, training
    return 1.0


@method(
    "step",
    source="He et al., 2016",
    settings={"milestones": (0.5, 0.75), "lr_drop": 0.1},
)
def step(progress: float, training: Training) -> float:
    """The learning rate is multiplied by lr_drop at each milestone."""
    passed = sum(progress >= milestone for milestone in training.milestones or ())
    return float((training.lr_drop or 1.0) ** passed)


@method("cosine", source="Loshchilov and Hutter, 2017 (arXiv 1608.03983)")
def cosine(progress: float, training: Training) -> float:
    """The learning rate falls from its peak to 0 along half a cosine."""
    del training
    return 0.5 * (1 + math.cos(math.pi * progress))


@method("one-cycle", source="Smith, 2018 (arXiv 1803.09820)", settings={"warmup": 0.3})
def one_cycle(progress: float, training: Training) -> float:
    """The learning rate rises linearly to its peak and falls linearly to 0."""
    top = training.warmup or 0.0
    return progress / top if progress < top else (1 - progress) / (1 - top)


def rate(training: Training, epochs: float) -> float:
    """Return the learning rate at one moment of a training.

    Args:
        training: The recipe.
        epochs: How many epochs are done; it may be a fraction.
    """
    done = training.schedule_start + epochs
    progress = min(1.0, done / (training.schedule_start + training.epochs))
    share: float = SCHEDULES.load(training.schedule)(progress, training)
    return training.lr * share
