"""Recipes: how a network is trained, as values. Every hyper-parameter is a column of ``trials``.

A setting that is left out gets the value that its objective, schedule or averaging declares (see
`Training.resolved`). A setting that none of them reads becomes None, so it cannot make two equal
trainings differ in their keys.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from prune_core.specs.fields import (
    Count,
    Epochs,
    Fraction,
    Images,
    NotNegative,
    Number,
    ObjectiveName,
    PolicyName,
    Positive,
    ScheduleName,
    Share,
    Spec,
    Steps,
    Unit,
)
from prune_core.specs.registry import OBJECTIVES, POLICIES, SCHEDULES

AVERAGING: dict[str, dict[str, float | bool]] = {
    "none": {},
    "ema": {"ema_decay": 0.999, "ema_warmup": True},
    "swa": {"swa_start": 0.75},
}
"""The settings of each kind of averaging, with their defaults."""
MINIMISED = "loss that is minimised"
PASSES = "passes over the training images"
DECAY = "of all weights, in every step; decoupled under adamw"


class Training(Spec):
    """How a network is trained, be it a dense network or a pruned one."""

    objective: ObjectiveName = Field("standard", description=MINIMISED)
    epochs: Epochs = Field(ge=0, le=100_000, description=PASSES)
    batch_size: Images = Field(128, ge=1, description="images of a step")
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="rule of a step")
    lr: Positive = Field(0.01, description="peak learning rate")
    momentum: Fraction = Field(0.9, description="of SGD; AdamW's first beta")
    weight_decay: NotNegative = Field(5e-4, description=DECAY)
    schedule: ScheduleName = Field("cosine", description="how the learning rate goes over time")
    milestones: tuple[Share, ...] | None = Field(
        None, description="schedule step: shares of the training after which the rate drops"
    )
    lr_drop: Share | None = Field(None, description="schedule step: factor at each milestone")
    warmup: Share | None = Field(None, description="schedule one-cycle: while the rate rises")
    schedule_start: Epochs = Field(0, ge=0, description="epochs of the schedule that are over")
    label_smoothing: Annotated[Fraction, Unit("share")] | None = Field(
        None, description="of a label's probability, spread evenly over all classes"
    )
    attack_steps: Steps | None = Field(None, ge=1, description="PGD steps of the training's attack")
    attack_step: Annotated[Positive, Unit("eps")] | None = Field(
        None, description="length of an attack step in radii; by default 2.5 / attack_steps"
    )
    attack_mode: Literal["eval", "train"] | None = Field(
        None, description="mode of the network during the attack; it decides what BatchNorm does"
    )
    beta: NotNegative | None = Field(None, description="weight of trades' and mart's robust term")
    awp_gamma: Annotated[Positive, Unit("share")] | None = Field(
        None, description="awp: length of the perturbation as a share of the norm of the weights"
    )
    awp_warmup: Annotated[Fraction, Unit("share")] | None = Field(
        None, description="awp: share of the training before weights are perturbed"
    )
    distill_weight: Annotated[Number, Field(ge=0, le=1), Unit("share")] | None = Field(
        None, description="distill: share of the loss that compares with the dense network"
    )
    temperature: Positive | None = Field(None, description="distill: temperature of both softmaxes")
    averaging: Literal["none", "ema", "swa"] = Field(
        "none", description="of weights: ema, exponential over steps, or swa, equal over epochs"
    )
    ema_decay: Share | None = Field(None, description="averaging ema: share of the old average")
    ema_warmup: bool | None = Field(
        None, description="averaging ema: after t steps ema_decay is at most (1 + t) / (10 + t)"
    )
    swa_start: Share | None = Field(None, description="averaging swa: share of epochs before it")
    selection: Literal["last", "validation"] = Field(
        "last", description="which epoch's weights are kept: the last, or the best by validation"
    )

    def resolved(self) -> Self:
        """Return the recipe with a value for every setting that it uses and None for all others.

        Raises:
            ValueError: If the objective declares a setting that is not a field of a training.
        """
        objective = OBJECTIVES[self.objective]
        declared = {
            **objective.settings,
            **objective.fixed,
            **SCHEDULES[self.schedule].settings,
            **AVERAGING[self.averaging],
        }
        if unknown := set(declared) - set(SETTINGS):
            raise ValueError(
                f"objective {self.objective!r} declares settings that a training does not have: "
                f"{', '.join(sorted(unknown))}; it has: {', '.join(SETTINGS)}"
            )
        given = {
            name: value
            for name in SETTINGS
            if (value := getattr(self, name)) is not None and name not in objective.fixed
        }
        if self.adversarial:
            declared = {"attack_steps": 10, "attack_mode": "eval", **declared}
            steps = given.get("attack_steps", declared["attack_steps"])
            declared.setdefault("attack_step", 2.5 / steps)
        update = {
            name: given.get(name, declared[name]) if name in declared else None for name in SETTINGS
        }
        return self.model_validate({**self.model_dump(), **update})

    @property
    def passes(self) -> float:
        """How long it takes: three passes of a batch a step, and one and a half an attack's."""
        return float(self.epochs * (3 + 1.5 * (self.attack_steps or 0)))

    @property
    def adversarial(self) -> bool:
        """Whether the objective attacks its training images."""
        return "threat" in OBJECTIVES[self.objective].needs

    @property
    def taught(self) -> bool:
        """Whether the objective needs the dense network as a teacher."""
        return "teacher" in OBJECTIVES[self.objective].needs


SETTINGS = tuple(name for name, field in Training.model_fields.items() if field.default is None)
"""The fields that only some objectives, schedules or averagings read."""


class ScoreTraining(Training):
    """How scores are trained, as a network is: HYDRA's authors' recipe where nothing is said."""

    objective: ObjectiveName = Field("trades", description=MINIMISED)
    epochs: Epochs = Field(20, ge=1, le=100_000, description=PASSES)
    lr: Positive = Field(0.1, description="peak learning rate")
    weight_decay: NotNegative = Field(1e-4, description=DECAY)


class S2apTraining(ScoreTraining):
    """How scores are trained at perturbed scores: HYDRA's recipe with AWP where nothing is said."""

    objective: ObjectiveName = Field("awp:trades", description=MINIMISED)


class HarpTraining(ScoreTraining):
    """How scores and shares are trained: HARP's authors' recipe where nothing is said."""

    objective: ObjectiveName = Field("pgd", description=MINIMISED)
    weight_decay: NotNegative = Field(5e-4, description=DECAY)


RATE = (
    "optimizer", "lr", "momentum", "schedule", "milestones", "lr_drop", "warmup", "schedule_start",
)  # fmt: skip
"""The fields that a policy which rewinds the learning rate takes from the dense training."""


def rewinds_rate(policy: str) -> bool:
    """Return whether a policy takes the learning rate from the dense network's training."""
    return "rate" in POLICIES[policy].needs


def prunes_in_rounds(policy: str) -> bool:
    """Return whether a policy prunes in several rounds and trains after each."""
    return "rounds" in POLICIES[policy].traits


class Growth(Spec):
    """How masks change while a network is trained: the settings of a `FinetuningLevel`."""

    drop_share: Number
    update_every: int
    stop_growing: Number


class FinetuningLevel(Training):
    """A level of the factor ``finetuning``: a training and a policy; 0 epochs is no fine-tuning."""

    epochs: Epochs = Field(0, ge=0, le=100_000, description=PASSES)
    policy: PolicyName = Field(
        "finetune", description="how it is trained on; none where epochs is 0"
    )
    rounds: Annotated[Count, Unit("rounds")] = Field(
        1,
        ge=1,
        description="iterative policies: how often they prune; the epochs are divided among rounds",
    )
    drop_share: Share | None = Field(None, description="policies that grow: of a layer, at first")
    update_every: Steps | None = Field(
        None, ge=2, description="policies that grow: masks change once in so many steps"
    )
    stop_growing: Annotated[Number, Field(gt=0, le=1), Unit("share")] | None = Field(
        None, description="policies that grow: share of the training after which masks stay"
    )

    @model_validator(mode="before")
    @classmethod
    def _none_without_epochs(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("epochs", 0) == 0 and "policy" not in data:
            return {**data, "policy": "none"}
        return data

    @model_validator(mode="after")
    def _policy_fits_epochs(self) -> Self:
        untrained = [name for name, each in POLICIES.methods.items() if "untrained" in each.traits]
        if ("untrained" in POLICIES[self.policy].traits) != (self.epochs == 0):
            raise ValueError(
                f"policy {self.policy!r} with epochs {self.epochs}: {' and '.join(untrained)} have "
                "0 epochs, every other policy at least 1"
            )
        if prunes_in_rounds(self.policy) != (self.rounds > 1) or self.epochs < self.rounds > 1:
            raise ValueError(
                f"policy {self.policy!r} with {self.rounds} rounds and {self.epochs} epochs: "
                "iterative policies have at least 2 rounds of at least 1 epoch each, every other "
                "policy has 1 round"
            )
        if rewinds_rate(self.policy) and self.epochs % self.rounds:
            raise ValueError(
                f"policy {self.policy!r} with {self.rounds} rounds and {self.epochs} epochs: every "
                "round goes back to the same epoch, so the epochs must be a multiple of the rounds"
            )
        return self

    @model_validator(mode="after")
    def _rate_has_one_source(self) -> Self:
        if rewinds_rate(self.policy) and (given := set(RATE) & self.model_fields_set):
            raise ValueError(
                f"policy {self.policy!r} takes the dense network's learning rate and schedule; "
                f"leave out {', '.join(sorted(given))}"
            )
        return self

    @property
    def round_epochs(self) -> int:
        """The epochs of a round, without those left over: a policy that rewinds goes back these."""
        return self.epochs // self.rounds

    @property
    def growth(self) -> Growth | None:
        """How the policy changes masks, every default written out; None if it does not."""
        declared = POLICIES[self.policy].settings
        given = self.model_dump(include=set(declared), exclude_none=True)
        return Growth.model_validate({**declared, **given}) if declared else None

    def training(self, dense: Training) -> Training:
        """Return the recipe of this level, resolved.

        Args:
            dense: The recipe of the dense network; some policies take its learning rate.
        """
        data = self.model_dump(include=set(Training.model_fields))
        if rewinds_rate(self.policy):
            data |= {name: getattr(dense, name) for name in RATE}
            data["schedule_start"] = dense.schedule_start + dense.epochs - self.round_epochs
        return Training.model_validate(data).resolved()

    def round_trainings(self, dense: Training) -> list[Training]:
        """Return the recipe of every round.

        The epochs are divided evenly; the last rounds get those that are left over.

        Args:
            dense: The recipe of the dense network; some policies take its learning rate.
        """
        training = self.training(dense)
        late = self.rounds - self.epochs % self.rounds
        return [
            training.model_copy(update={"epochs": self.round_epochs + (index >= late)})
            for index in range(self.rounds)
        ]
