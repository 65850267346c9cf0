"""Recipes: how a network is trained, as values; every hyper-parameter is a column of ``trials``.

A setting that is left out gets the value that its objective, schedule or averaging declares (see
`Training.resolved`); one that they do not read is None, and so is in no key but as None.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from prune_core.specs.fields import Number, ObjectiveName, PolicyName, ScheduleName, Share, Spec
from prune_core.specs.registry import OBJECTIVES, POLICIES, SCHEDULES

AVERAGING: dict[str, dict[str, float]] = {
    "none": {},
    "ema": {"ema_decay": 0.999},
    "swa": {"swa_start": 0.75},
}
"""The settings of every averaging of weights, with their defaults."""


class Compute(Spec):
    """How the arithmetic of trainings is done; it changes the last bits, so it is in their keys.

    Evaluations and sensitivities are always computed in float32.
    """

    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the attack in training, and under autocast of the training step"
    )
    channels_last: bool = Field(False, description="keep images and convolutions channels-last")
    compile: bool = Field(False, description="torch.compile: minutes a network, for long trainings")


class Training(Spec):
    """How a network is trained; used for dense networks and for fine-tuning alike."""

    objective: ObjectiveName = "standard"
    epochs: int = Field(ge=0, le=100_000)
    batch_size: int = Field(128, ge=1)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Annotated[Number, Field(gt=0)] = Field(0.01, description="peak learning rate")
    momentum: Annotated[Number, Field(ge=0, lt=1)] = Field(
        0.9, description="of SGD; AdamW's first beta"
    )
    weight_decay: Annotated[Number, Field(ge=0)] = 5e-4
    schedule: ScheduleName = "cosine"
    milestones: tuple[Share, ...] | None = Field(
        None, description="schedule step: shares of the training after which the rate drops"
    )
    lr_drop: Share | None = Field(None, description="schedule step: what the rate is multiplied by")
    warmup: Share | None = Field(None, description="schedule one-cycle: share in which it rises")
    schedule_start: int = Field(
        0, ge=0, description="epochs of the schedule that are behind it when the training begins"
    )
    label_smoothing: Annotated[Number, Field(ge=0, lt=1)] | None = None
    attack_steps: int | None = Field(None, ge=1, description="PGD steps of the training's attack")
    attack_step: Annotated[Number, Field(gt=0)] | None = Field(
        None, description="length of a step in radii of the threat; 2.5 / attack_steps if left out"
    )
    attack_mode: Literal["eval", "train"] | None = Field(
        None, description="mode of the network, BatchNorm's above all, while it is attacked"
    )
    beta: Annotated[Number, Field(ge=0)] | None = Field(
        None, description="weight of the robust term of trades and mart"
    )
    awp_gamma: Annotated[Number, Field(gt=0)] | None = Field(
        None, description="awp: radius of the weight perturbation as a share of the weights' norm"
    )
    distill_weight: Annotated[Number, Field(ge=0, le=1)] | None = Field(
        None, description="distill: share of the loss that the dense network teaches"
    )
    temperature: Annotated[Number, Field(gt=0)] | None = Field(None, description="distill")
    averaging: Literal["none", "ema", "swa"] = Field(
        "none", description="of weights: exponential after every step, or equal after epochs"
    )
    ema_decay: Share | None = None
    swa_start: Share | None = Field(None, description="share of the epochs before averaging begins")
    selection: Literal["last", "validation"] = Field(
        "last", description="the epoch that is kept: the last, or the best by validation"
    )

    def resolved(self) -> Self:
        """Write out every setting that has a say; leave None those that have none."""
        objective = OBJECTIVES[self.objective]
        declared = {
            **objective.settings,
            **objective.fixed,
            **SCHEDULES[self.schedule].settings,
            **AVERAGING[self.averaging],
        }
        if strange := set(declared) - set(SETTINGS):
            raise ValueError(
                f"objective {self.objective!r} declares settings that a training does not have: "
                f"{', '.join(sorted(strange))}; there are: {', '.join(SETTINGS)}"
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
    def adversarial(self) -> bool:
        """Whether the objective attacks its training images."""
        return "threat" in OBJECTIVES[self.objective].needs

    @property
    def taught(self) -> bool:
        """Whether the objective asks for the dense network as a teacher."""
        return "teacher" in OBJECTIVES[self.objective].needs


SETTINGS = tuple(name for name, field in Training.model_fields.items() if field.default is None)
"""Settings that only some objectives, schedules or averagings read."""

RATE = (
    "optimizer", "lr", "momentum", "schedule", "milestones", "lr_drop", "warmup", "schedule_start",
)  # fmt: skip
"""What a policy that rewinds the learning rate takes from the dense network's training."""


def rewinds_rate(policy: str) -> bool:
    """Say whether a policy takes the learning rate from the dense network's training."""
    return "rate" in POLICIES[policy].needs


class FinetuningLevel(Training):
    """A level of the factor ``finetuning``: a training and a policy. No epochs means none."""

    epochs: int = Field(0, ge=0, le=100_000)
    policy: PolicyName = "finetune"
    rounds: int = Field(
        1, ge=1, description="under iterative: prunings, each followed by its share of the epochs"
    )

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
        if (self.policy == "iterative") != (self.rounds > 1) or self.epochs < self.rounds > 1:
            raise ValueError(
                f"policy {self.policy!r} with {self.rounds} rounds and {self.epochs} epochs: "
                "policy 'iterative' goes with at least 2 rounds of at least 1 epoch each, every "
                "other with 1 round"
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

    def training(self, dense: Training) -> Training:
        """Return the training without the policy, resolved; ``dense`` is the dense network's."""
        data = self.model_dump(exclude={"policy", "rounds"})
        if rewinds_rate(self.policy):
            data |= {name: getattr(dense, name) for name in RATE}
            data["schedule_start"] = dense.schedule_start + dense.epochs - self.epochs
        return Training.model_validate(data).resolved()

    def round_trainings(self, dense: Training) -> list[Training]:
        """Return the training of every round; the epochs are shared out, the last first served."""
        training = self.training(dense)
        each, rest = divmod(self.epochs, self.rounds)
        late = self.rounds - rest
        return [
            training.model_copy(update={"epochs": each + (index >= late)})
            for index in range(self.rounds)
        ]
