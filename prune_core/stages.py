"""Stages as values: what is computed, with every default written out, and under which key.

A trial is a path ``Dense -> (Sensitivity) -> Pruned -> (Finetuned) -> Trial``; each stage holds its
parents, so a stage alone says all that is needed to compute it. Trials share equal stages because
equal stages have equal keys. What does not change a number (a path, a device) is in no key.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from prune_core.fields import (
    AllocationName,
    ArchitectureName,
    AttackName,
    CriterionName,
    Number,
    PolicyName,
    SensitivityName,
    Share,
    Spec,
    attack_method,
)
from prune_core.identity import stage_key
from prune_core.registry import ATTACKS, AXES, Axis
from prune_core.specs import Calibration, Dataset, Estimation, Threat, Training


class Stage(Spec):
    """A step that yields an artifact. Fields that are stages are its parents."""

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    """Raised whenever the same spec would yield other numbers than before."""

    outside: dict[str, str] = Field({}, description="digests of methods from outside, by axis")

    @property
    def parents(self) -> dict[str, Stage]:
        """The stages that this one starts from, by field."""
        fields = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: value for name, value in fields if isinstance(value, Stage)}

    @cached_property
    def key(self) -> str:
        """The stage's identity; see `prune_core.identity`."""
        parents = {name: parent.key for name, parent in self.parents.items()}
        spec = self.model_dump(mode="json", exclude=set(parents))
        if "dataset" in spec:
            del spec["dataset"]["root"]  # where a data set lies changes no number
        return stage_key(self.kind, self.version, spec, parents)


class Dense(Stage):
    """A trained dense network. All trials of a seed share it: the seed is a block."""

    kind: ClassVar[str] = "dense"
    dataset: Dataset
    architecture: ArchitectureName
    training: Training
    threat: Threat | None
    seed: int


class Sensitivity(Stage):
    """The robust sensitivity of every layer of a dense network."""

    kind: ClassVar[str] = "sensitivity"
    dense: Dense
    estimator: SensitivityName
    estimation: Estimation
    threat: Threat


class Pruned(Stage):
    """A pruned network, before any fine-tuning."""

    kind: ClassVar[str] = "prune"
    dense: Dense
    sensitivity: Sensitivity | None = None
    criterion: CriterionName
    calibration: Calibration | None
    allocation: AllocationName
    granularity: Literal["channel"] = "channel"
    sparsity: Share
    budget: Literal["params", "macs"] = "params"
    min_keep: Annotated[Number, Field(ge=0, lt=1)]
    mrs_exponent: float | None


class Finetuned(Stage):
    """A pruned network after fine-tuning."""

    kind: ClassVar[str] = "finetune"
    pruned: Pruned
    policy: PolicyName
    training: Training
    threat: Threat | None


class Evaluation(Stage):
    """One attack on one network, on the test split."""

    kind: ClassVar[str] = "evaluate"
    network: Dense | Pruned | Finetuned
    attack: AttackName
    threat: Threat | None


class Trial(Stage):
    """A cell at one seed: a path through the stages, measured at each. One row of ``trials``."""

    kind: ClassVar[str] = "trial"
    network: Pruned | Finetuned
    attacks: tuple[AttackName, ...]
    threat: Threat

    @property
    def pruned(self) -> Pruned:
        """The pruned network of the path."""
        return self.network.pruned if isinstance(self.network, Finetuned) else self.network

    @property
    def dense(self) -> Dense:
        """The dense network of the path."""
        return self.pruned.dense

    def evaluations(self, network: Dense | Pruned | Finetuned) -> list[Evaluation]:
        """Return what is measured of one network of the path: clean accuracy and each attack."""
        return [
            Evaluation(
                network=network,
                attack=attack,
                threat=self.threat if "threat" in ATTACKS[attack_method(attack)[0]].needs else None,
                outside=_digest(ATTACKS, attack_method(attack)[0]),
            )
            for attack in ("clean", *(name for name in self.attacks if name != "clean"))
        ]


def _digest(axis: Axis, name: str) -> dict[str, str]:
    found = axis[name]
    return {} if found.digest is None else {axis.axis: found.digest}


def digests(**names: str) -> dict[str, str]:
    """Return the digests of those methods that come from outside; ``criteria="l1"``, and so on."""
    found: dict[str, str] = {}
    for axis, name in names.items():
        found |= _digest(AXES[axis], name)
    return found
