"""Work: how much a job computes, counted from its stages before anything runs.

The unit is one image's forward pass through the dense network. A training step takes three, a step
of an attack one and a half; a pruned network's are shorter. What a layer or a module is tried for
counts as if networks had ten of them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from prune_core.specs.recipes import Training
from prune_core.specs.registry import ATTACKS, GRANULARITIES
from prune_core.specs.settings import Dataset
from prune_core.specs.stage import Stage
from prune_core.specs.stages import Dense, Finetuned, Pruned, Scores, Sensitivity, Trial

TRAINING, STEP = 3.0, 1.5
"""Passes of an image in a step of a training, and of an attack."""
TESTED = 0.2
"""Test images for one training image, as in CIFAR-10."""
TYPICAL = 10_000
"""Training images, where their number is not known."""
LAYERS = 10
STEPS = {
    "clean": 0, "fgsm": 1, "cw": 50, "apgd-ce": 100, "apgd-dlr": 100, "fab": 200, "square": 2500,
    "autoattack": 2000,
}  # fmt: skip
"""Steps of attacks whose names do not tell; of the long ones on what is still right, about half."""
OWN_STEPS = 20
READ = 100.0
"""Passes of an image that any job spends on what it reads."""
CHECKED = 35.0
"""Passes of an image in the checks against false robustness."""
ON_FILES = ("severity", "file")
"""What a name tells of attacks that look once."""

MEASURED = {
    "criterion", "unit", "calibration", "training", "threat", "estimator", "granularity",
    "estimation",
}  # fmt: skip
"""Settings of scores and sensitivities on which their memory depends."""

REST = "rest"
"""What a job does besides its trainings, its attacks and the measuring of sensitivities."""


class Passes(NamedTuple):
    """Passes of a part of a job."""

    training: float = 0.0
    """Over all training images."""
    images: float = 0.0
    """Of single images, however many there are to train on."""

    def over(self, images: float | None) -> float:
        """Return the passes of single images, with so many to train on."""
        return self.training * (images or TYPICAL) + self.images

    def __add__(self, other: object) -> Passes:
        """Return both together."""
        if not isinstance(other, Passes):
            return NotImplemented
        return Passes(self.training + other.training, self.images + other.images)


@dataclass(frozen=True)
class Work:
    """What a job computes, by part: its trainings, each attack, the rest."""

    parts: Mapping[str, Passes]

    def over(self, images: float | None) -> float:
        """Return the passes of single images, with so many to train on."""
        return sum(part.over(images) for part in self.parts.values())


def work_of(stage: Stage, attacks: Sequence[str]) -> Work:
    """Return the work of a stage's job.

    Args:
        stage: The stage.
        attacks: What its network is evaluated by besides clean images; none where it is not.
    """
    parts: defaultdict[str, Passes] = defaultdict(Passes)
    for name, passes in _parts(stage, attacks):
        parts[name] += passes
    return Work({name: passes for name, passes in parts.items() if any(passes)})


def trainings_of(stage: Stage) -> list[Dense | Finetuned | Scores]:
    """Return the stages of a job that train: a network, or scores of later rounds too."""
    if isinstance(stage, Trial):
        scores = (trained.pruned.scores for trained in stage.trainings[:-1])
        return [*stage.trainings, *scores]
    return [stage] if isinstance(stage, Dense | Finetuned | Scores) else []


def measurings_of(stage: Stage) -> list[Scores | Sensitivity]:
    """Return what a job measures of a network that is to be pruned, in later rounds too."""
    if isinstance(stage, Trial):
        rounds = (trained.pruned for trained in stage.trainings[:-1])
        parts = (part for each in rounds for part in (each.scores, each.ranking, each.sensitivity))
        return [part for part in parts if part is not None]
    return [stage] if isinstance(stage, Scores | Sensitivity) else []


def measuring_form(stage: Scores | Sensitivity) -> str:
    """Return what the memory that a measuring takes depends on, besides its network."""
    return repr(stage.model_dump(include=MEASURED))


def training_part(training: Training) -> str:
    """Return what a training is called among the parts: its steps are as long as another's."""
    steps = f" {training.attack_steps} steps" if training.attack_steps else ""
    return f"training {training.objective}{steps}"


def _parts(stage: Stage, attacks: Sequence[str]) -> Iterator[tuple[str, Passes]]:
    short = _left(stage.pruned) if isinstance(stage, Trial) else 1.0
    trainings = trainings_of(stage)
    for trained in trainings:
        if trained.training is not None:
            yield training_part(trained.training), Passes(short * trained.training.passes)
    untrained = isinstance(stage, Trial) and not trainings  # and was measured when pruned
    if attacks and isinstance(stage, Dense | Finetuned | Pruned | Trial) and not untrained:
        tested = TESTED * (_left(stage) if isinstance(stage, Pruned) else short)
        for name in ("clean", *attacks):
            yield name, Passes(tested * attack_passes(name))
    if isinstance(stage, Trial):
        yield REST, Passes(0.0, READ + CHECKED * stage.sanity_images)
    elif isinstance(stage, Sensitivity):
        yield f"sensitivity {stage.estimator}", Passes(0.0, measuring_passes(stage))
    elif isinstance(stage, Scores) and stage.calibration is not None:
        attacked = STEP * stage.calibration.attack_steps if stage.threat else 0.0
        yield REST, Passes(0.0, stage.calibration.samples * (TRAINING + attacked))
    elif not trainings:
        yield REST, Passes(stage.passes)


def images_in_words(dataset: Dataset) -> str:
    """Return what tells images apart on which jobs take as long as others: ``cifar10 size=64``."""
    limits = ("classes", "per_class", "test_per_class", "size")
    told = {name: getattr(dataset, name) for name in limits}
    told["content"] = dataset.content
    return " ".join([dataset.name, *(f"{n}={v}" for n, v in told.items() if v is not None)])


@lru_cache(maxsize=4096)
def attack_passes(attack: str) -> float:
    """Return the passes that an attack takes of an image, with the look at what it comes to."""
    told = ATTACKS.arguments(attack)
    if "then" in told:
        return attack_passes(str(told["attack"])) + attack_passes(str(told["then"])) / 2
    if any(word in told for word in ON_FILES):
        return 1.0
    if "attack" in told:  # in another precision, or however else it is wrapped
        return attack_passes(str(told["attack"]))
    named = float(told.get("k", OWN_STEPS)) * int(told.get("n", 1))
    if ATTACKS[attack].name == "ho-fmn-<k>":  # k settings, each on 64 of 512 images for 100 steps
        named = 200 + named * 100 / 8
    return 1.0 + STEP * STEPS.get(ATTACKS[attack].name, named)


def _left(pruned: Pruned) -> float:
    """Return the share of a dense network's passes that one of a pruned one takes.

    Less is won than is removed: in the study on CIFAR-10 about the root of it.
    """
    masked = "weights" in GRANULARITIES[pruned.granularity].traits
    return 1.0 if masked else math.sqrt(1.0 - pruned.sparsity)


def measuring_passes(stage: Sensitivity) -> float:
    """Return the passes of single images that the measuring of sensitivities takes."""
    how = stage.estimation
    climbs = how.restarts * how.steps * TRAINING / 2  # what runs before a layer is reused
    tried = climbs if stage.scores is None else len(how.shares)
    return how.samples * (STEP * how.attack_steps + LAYERS * tried)
