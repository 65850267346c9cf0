"""Stages as values: what is computed, with every default written out, and under which key.

A trial is a path ``Dense -> Scores, (Sensitivity) -> Pruned -> (Rewound, Finetuned) -> Trial``;
iterative pruning goes round from Finetuned to Scores again. Each stage holds its parents, so a
stage alone says all that is needed to compute it. Trials share equal stages because equal stages
have equal keys. What does not change a number (a path, a device) is in no key.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from prune_core.specs.checkpoints import Checkpoint, Constants
from prune_core.specs.compute import Compute
from prune_core.specs.fields import (
    AllocationName,
    ArchitectureName,
    AttackName,
    CriterionName,
    GranularityName,
    Number,
    PolicyName,
    SensitivityName,
    Share,
)
from prune_core.specs.recipes import Growth, Training
from prune_core.specs.registry import ATTACKS
from prune_core.specs.settings import Calibration, Dataset, Estimation, Threat
from prune_core.specs.stage import FACTS, NETWORK, SCORES, Stage


class Dense(Stage):
    """A trained dense network. All trials of a seed share it: the seed is a block.

    It starts from random weights, or from a checkpoint.
    """

    kind: ClassVar[str] = "dense"
    version: ClassVar[int] = 4
    result: ClassVar[str | None] = NETWORK
    keepable: ClassVar[bool] = True
    network_word: ClassVar[str | None] = "dense"
    later: ClassVar[frozenset[str]] = frozenset({"checkpoint", "normalise"})
    dataset: Dataset
    architecture: ArchitectureName
    training: Training
    compute: Compute = Compute()
    threat: Threat | None
    seed: int
    checkpoint: Checkpoint | None = None
    normalise: Literal["none"] | Constants | None = Field(
        None, description="of images; None for the data set's mean and std"
    )

    @property
    def passes(self) -> float:
        """Those of its training."""
        return self.training.passes


class Sensitivity(Stage):
    """The sensitivity of every layer of a network that is to be pruned, or of every module.

    ``scores`` and ``granularity`` are there where the estimator removes the units of lowest score.
    """

    kind: ClassVar[str] = "sensitivity"
    version: ClassVar[int] = 4
    result: ClassVar[str | None] = FACTS
    network: Dense | Finetuned
    estimator: SensitivityName
    scores: Scores | None = None
    granularity: GranularityName | None = None
    estimation: Estimation
    threat: Threat


class Scores(Stage):
    """A criterion's score of every unit of a network; all sparsities and allocations share it.

    ``calibration``, ``training``, ``threat``, ``sparsity`` are there where the criterion reads it.
    """

    kind: ClassVar[str] = "scores"
    version: ClassVar[int] = 2
    result: ClassVar[str | None] = SCORES
    keepable: ClassVar[bool] = True
    network_word: ClassVar[str | None] = "scores"
    network: Dense | Finetuned
    criterion: CriterionName
    unit: Literal["channel", "weight"] = "channel"
    calibration: Calibration | None = None
    training: Training | None = Field(None, description="of scores that are trained, as hydra's")
    threat: Threat | None = None
    sparsity: Share | None = None

    @property
    def needs_data(self) -> bool:
        """Whether it costs more than one look at the weights, and is kept in storage."""
        return self.calibration is not None or self.sparsity is not None

    @property
    def compute(self) -> Compute:
        """The precision of what is measured, in which scores are trained too."""
        return Compute()

    @property
    def passes(self) -> float:
        """Those of its training, where scores are trained."""
        return 0.0 if self.training is None else self.training.passes


class Pruned(Stage):
    """A pruned network, before the fine-tuning that follows."""

    kind: ClassVar[str] = "prune"
    version: ClassVar[int] = 3
    result: ClassVar[str | None] = NETWORK
    keepable: ClassVar[bool] = True
    network_word: ClassVar[str | None] = "pruned"
    later: ClassVar[frozenset[str]] = frozenset({"round_to", "leave"})
    network: Dense | Finetuned
    scores: Scores
    ranking: Scores | None = Field(None, description="what the allocation ranks, if not scores")
    sensitivity: Sensitivity | None = None
    allocation: AllocationName
    granularity: GranularityName = "channel"
    sparsity: Share = Field(description="share of the dense network's cost removed")
    budget: Literal["params", "macs"] = "params"
    min_keep: Annotated[Number, Field(ge=0, lt=1)]
    round_to: int | None = Field(None, description="of channels, where it is not 1")
    leave: tuple[str, ...] | None = Field(None, description="layers whose modules stay whole")
    mrs_exponent: float | None = None
    ratios: dict[str, float] | None = Field(None, description="shares kept, from the user")

    @property
    def dense(self) -> Dense:
        """The dense network that it descends from."""
        return dense_of(self)


class Rewound(Stage):
    """A dense network as it was when so many epochs of its training were behind it."""

    kind: ClassVar[str] = "rewind"
    result: ClassVar[str | None] = NETWORK
    keepable: ClassVar[bool] = True
    network: Dense
    epoch: int = Field(ge=0)

    @property
    def passes(self) -> float:
        """Next to none: the dense network's job leaves it behind."""
        return 0.1


class Finetuned(Stage):
    """A pruned network after fine-tuning."""

    kind: ClassVar[str] = "finetune"
    version: ClassVar[int] = 4
    result: ClassVar[str | None] = NETWORK
    is_job: ClassVar[bool] = False
    keepable: ClassVar[bool] = True
    network_word: ClassVar[str | None] = "finetuned"
    pruned: Pruned
    policy: PolicyName
    growth: Growth | None = Field(None, description="of masks, where the policy changes them")
    rewound: Rewound | None = None
    training: Training
    compute: Compute = Compute()
    threat: Threat | None

    @property
    def passes(self) -> float:
        """Those of its training."""
        return self.training.passes


Sensitivity.model_rebuild()
Scores.model_rebuild()
Pruned.model_rebuild()


class Evaluation(Stage):
    """One attack on one network, on the test split."""

    kind: ClassVar[str] = "evaluate"
    is_job: ClassVar[bool] = False
    version: ClassVar[int] = 3
    network: Dense | Pruned | Finetuned
    attack: AttackName
    threat: Threat | None


class Sanity(Stage):
    """Checks of one network's robustness, on a sample of the test split."""

    kind: ClassVar[str] = "sanity"
    version: ClassVar[int] = 4
    is_job: ClassVar[bool] = False
    tries: ClassVar[tuple[str, ...]] = ("fgsm", "pgd-10", "pgd-20")  # evaluated too, maybe
    network: Pruned | Finetuned
    threat: Threat
    images: int = Field(ge=1)
    told: tuple[AttackName, ...] = Field((), description="attacks that the evaluation has run")


class Trial(Stage):
    """A cell at one seed: a path through the stages, measured at each. One row of ``trials``."""

    kind: ClassVar[str] = "trial"
    # Its row holds what these say, so it is left behind with them.
    version: ClassVar[int] = 1 + Evaluation.version + Sanity.version
    later: ClassVar[frozenset[str]] = frozenset({"measure"})
    network: Pruned | Finetuned
    attacks: tuple[AttackName, ...]
    threat: Threat
    sanity_images: int = Field(0, ge=0, description="of the sanity checks; 0 for none")
    measure: tuple[Literal["latency"], ...] | None = None

    @property
    def pruned(self) -> Pruned:
        """The pruned network of the path."""
        return self.network.pruned if isinstance(self.network, Finetuned) else self.network

    @property
    def dense(self) -> Dense:
        """The dense network of the path."""
        return self.pruned.dense

    @property
    def trainings(self) -> list[Finetuned]:
        """The fine-tunings of the path, the last first; several where pruning is iterative."""
        trainings: list[Finetuned] = []
        network: Dense | Pruned | Finetuned = self.network
        while not isinstance(network, Dense):
            if isinstance(network, Finetuned):
                trainings.append(network)
                network = network.pruned
            else:
                network = network.network
        return trainings

    @property
    def passes(self) -> float:
        """Those of its fine-tunings, and of later rounds' scores."""
        scored = (stage.pruned.scores.passes for stage in self.trainings[:-1])
        return sum(stage.passes for stage in self.trainings) + sum(scored)

    @property
    def sanity(self) -> Sanity | None:
        """The checks of the final network; None where the sweep makes none."""
        if not (images := self.sanity_images):
            return None
        tried = [name for name in Sanity.tries if name in self.attacks]
        lowered = [n for n in self.attacks if {"bfloat16", "tf32"} & {*ATTACKS[n].traits}]
        told = (*tried, *lowered)  # for these their precision is checked
        return Sanity(network=self.network, threat=self.threat, images=images, told=told)

    def evaluations(self, network: Dense | Pruned | Finetuned) -> list[Evaluation]:
        """Return what is measured of one network of the path: clean accuracy and each attack."""
        return evaluations_of(network, self.attacks, self.threat)


STAGES: dict[str, type[Stage]] = {
    stage.kind: stage
    for stage in (Dense, Rewound, Sensitivity, Scores, Pruned, Finetuned, Evaluation, Sanity, Trial)
}
"""Every stage by its kind, in the order of a path: what is made of stages is made of this."""
JOB_KINDS = tuple(kind for kind, stage in STAGES.items() if stage.is_job)
"""Kinds of jobs, in the order in which people see them."""
KEEPABLE = tuple(kind for kind, stage in STAGES.items() if stage.keepable)
"""Kinds of artifacts that a sweep file may keep or drop."""


def evaluations_of(
    network: Dense | Pruned | Finetuned, attacks: tuple[str, ...], threat: Threat
) -> list[Evaluation]:
    """Return what is measured of a network: clean accuracy and each attack."""
    dataset = dense_of(network).dataset
    return [
        Evaluation(
            network=network,
            attack=attack,
            threat=threat if "threat" in ATTACKS[attack].needs else None,
            outside={"attacks": digest} if (digest := dataset.attack_digest(attack)) else {},
        )
        for attack in ("clean", *(name for name in attacks if name != "clean"))
    ]


def dense_of(stage: Stage) -> Dense:
    """Return the dense network that a stage descends from."""
    while not isinstance(stage, Dense):
        above: Stage = stage.pruned if isinstance(stage, Finetuned) else stage.network  # type: ignore[attr-defined]  # every other stage has one
        stage = above
    return stage
