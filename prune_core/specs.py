"""Stages as values: what is computed, with every default written out, and under which key.

A trial is a path ``Dense -> (Sensitivity) -> Pruned -> (Finetuned) -> Trial``; each stage holds its
parents, so a stage alone says all that is needed to compute it. Trials share equal stages because
equal stages have equal keys. What does not change a number (a path, a device) is in no key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from prune_core.identity import stage_key
from prune_core.registry import (
    ALLOCATIONS,
    ARCHITECTURES,
    ATTACKS,
    AXES,
    CRITERIA,
    DATASETS,
    OBJECTIVES,
    POLICIES,
    SENSITIVITIES,
    Axis,
    UnknownMethodError,
)


def parse_number(value: Any) -> Any:
    """Read ``8/255`` and ``1e-3``, which YAML takes for text, as numbers."""
    if not isinstance(value, str):
        return value
    parts = value.split("/")
    try:
        numbers = [float(part) for part in parts]
        return numbers[0] if len(numbers) == 1 else numbers[0] / _only(numbers[1:])
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{value!r} is no number; write 0.03, 1e-3 or 8/255") from None


def _only(values: list[float]) -> float:
    (value,) = values
    return value


@dataclass(frozen=True)
class MethodOf:
    """Marks a text as the name of one of an axis's methods."""

    axis: Axis

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Refuse unknown names."""
        return core_schema.no_info_after_validator_function(self._known, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Offer the names to editors, without refusing methods from outside."""
        return {**handler(schema), "examples": sorted(self.axis.methods)}

    def _known(self, name: str) -> str:
        self.axis[name]
        return name


def attack_method(name: str) -> tuple[str, int | None]:
    """Split an attack's name: ``pgd-20`` is the method ``pgd-k`` with k = 20.

    Raises `UnknownMethodError` for a name that no attack answers to.
    """
    match = re.fullmatch(r"(.+)-([1-9]\d{0,4})", name)
    if match and f"{match[1]}-k" in ATTACKS.methods:
        return f"{match[1]}-k", int(match[2])
    if name.endswith("-k"):
        raise UnknownMethodError(f"attack {name!r}: give the number of steps, as in pgd-20")
    ATTACKS[name]
    return name, None


def _known_attack(name: str) -> str:
    attack_method(name)
    return name


Number = Annotated[float, BeforeValidator(parse_number)]
DatasetName = Annotated[str, MethodOf(DATASETS)]
ArchitectureName = Annotated[str, MethodOf(ARCHITECTURES)]
CriterionName = Annotated[str, MethodOf(CRITERIA)]
AllocationName = Annotated[str, MethodOf(ALLOCATIONS)]
SensitivityName = Annotated[str, MethodOf(SENSITIVITIES)]
ObjectiveName = Annotated[str, MethodOf(OBJECTIVES)]
PolicyName = Annotated[str, MethodOf(POLICIES)]
AttackName = Annotated[
    str,
    AfterValidator(_known_attack),
    Field(json_schema_extra={"examples": ["fgsm", "pgd-20"]}),
]
Share = Annotated[Number, Field(gt=0, lt=1)]
"""A share strictly between 0 and 1."""


class Spec(BaseModel):
    """A frozen value that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Threat(Spec):
    """What the adversary may do: a norm and a radius, for images in [0,1]."""

    norm: Literal["linf"] = "linf"
    eps: Annotated[Number, Field(gt=0, le=1)] = 8 / 255


def _absolute(folder: str) -> str:
    """Fix a folder where the sweep file is read: workers have working folders of their own."""
    return str(Path(folder).absolute())


class Dataset(Spec):
    """A data set: its name, where it comes from, and how it is split."""

    name: DatasetName
    root: Annotated[str, AfterValidator(_absolute)] | None = Field(
        None, description="folder that holds it; not part of any key"
    )
    source: Literal["builtin", "torchvision", "parquet"] = "builtin"
    validation: Share = Field(0.1, description="share of the training images held out")

    @model_validator(mode="after")
    def _found_where_it_says(self) -> Self:
        if "root" in DATASETS[self.name].needs and (self.root is None or self.source == "builtin"):
            raise ValueError(
                f"data set {self.name!r} needs root (the folder that holds it) "
                "and source (torchvision or parquet)"
            )
        if "root" not in DATASETS[self.name].needs and (self.root or self.source != "builtin"):
            raise ValueError(f"data set {self.name!r} is built in; leave out root and source")
        return self


class Training(Spec):
    """How a network is trained; used for dense networks and for fine-tuning alike."""

    objective: ObjectiveName = "standard"
    epochs: int = Field(ge=0, le=100_000)
    lr: Annotated[Number, Field(gt=0)] = Field(0.01, description="peak learning rate of SGD")
    schedule: Literal["constant", "cosine"] = "cosine"
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[Number, Field(ge=0)] = 5e-4
    batch_size: int = Field(128, ge=1)
    attack_steps: int | None = Field(
        None, ge=1, description="PGD steps of an adversarial objective; 10 where left out"
    )

    def resolved(self) -> Self:
        """Write out the attack of an adversarial objective; leave none where it has no say."""
        adversarial = "threat" in OBJECTIVES[self.objective].needs
        steps = (self.attack_steps or 10) if adversarial else None
        return self.model_copy(update={"attack_steps": steps})

    @property
    def adversarial(self) -> bool:
        """Whether the objective attacks its training images."""
        return "threat" in OBJECTIVES[self.objective].needs


class Calibration(Spec):
    """The training images from which a criterion takes its gradients."""

    samples: int = Field(512, ge=1)
    batch_size: int = Field(128, ge=1)


class PruningRules(Spec):
    """What holds for every pruning of a sweep."""

    min_keep: Annotated[Number, Field(ge=0, lt=1)] = Field(
        0.1, description="share of its channels that every module keeps at least, and one"
    )
    mrs_exponent: Annotated[Number, Field(ge=0)] = Field(
        0.5, description="under mrs, kept shares are proportional to the MRS to this power"
    )
    calibration: Calibration = Calibration()


class Estimation(Spec):
    """How sensitivities are measured: on how many images, how far, how hard.

    ``epsilon`` is the radius of a weight perturbation as a share of the norm of the weights;
    ``steps`` and ``restarts`` belong to the exact value alone.
    """

    samples: int = Field(512, ge=1)
    batch_size: int = Field(512, ge=1)
    epsilon: Annotated[Number, Field(gt=0)] = 0.1
    attack_steps: int = Field(10, ge=1)
    steps: int = Field(20, ge=1)
    restarts: int = Field(2, ge=1)


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


class FinetuningLevel(Training):
    """A level of the factor ``finetuning``: a training and a policy. No epochs means none."""

    epochs: int = Field(0, ge=0, le=100_000)
    policy: PolicyName = "finetune"

    @model_validator(mode="before")
    @classmethod
    def _none_without_epochs(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("epochs", 0) == 0 and "policy" not in data:
            return {**data, "policy": "none"}
        return data

    @model_validator(mode="after")
    def _policy_fits_epochs(self) -> Self:
        if (self.policy == "none") != (self.epochs == 0):
            raise ValueError(
                f"policy {self.policy!r} with epochs {self.epochs}: "
                "policy 'none' goes with 0 epochs, every other policy with at least 1"
            )
        return self

    def training(self) -> Training:
        """Return the training without the policy, resolved."""
        data = self.model_dump(exclude={"policy"})
        return Training.model_validate(data).resolved()


def _digest(axis: Axis, name: str) -> dict[str, str]:
    found = axis[name]
    return {} if found.digest is None else {axis.axis: found.digest}


def digests(**names: str) -> dict[str, str]:
    """Return the digests of those methods that come from outside; ``criteria="l1"``, and so on."""
    found: dict[str, str] = {}
    for axis, name in names.items():
        found |= _digest(AXES[axis], name)
    return found
