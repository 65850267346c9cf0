"""Settings as values: threat, data, training, pruning, estimation; every default in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from prune_core.fields import DatasetName, Number, ObjectiveName, PolicyName, Share, Spec
from prune_core.registry import DATASETS, OBJECTIVES


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
