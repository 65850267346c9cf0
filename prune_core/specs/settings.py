"""Settings as values: threat, data set, pruning, estimation (trainings: `specs.recipes`)."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from prune_core.specs.fields import (
    Count,
    DatasetName,
    Images,
    Number,
    Share,
    Spec,
    Steps,
    Unit,
    absolute,
)
from prune_core.specs.images import Augmentation, Extra
from prune_core.specs.keys import file_digest
from prune_core.specs.plain_yaml import YamlError, read_yaml
from prune_core.specs.recipes import HarpTraining, S2apTraining, ScoreTraining, Training
from prune_core.specs.registry import ATTACKS, DATASETS


class Threat(Spec):
    """What the adversary may do: a norm and a radius, for images in [0,1]."""

    norm: Literal["linf", "l2"] = Field("linf", description="what bounds a perturbation")
    eps: Annotated[Number, Field(gt=0)] = Field(
        8 / 255, description="radius, in that norm; by default 8/255"
    )

    @model_validator(mode="after")
    def _within_images(self) -> Self:
        if self.norm == "linf" and self.eps > 1:
            raise ValueError(
                f"eps {self.eps} is too large: pixels are in [0,1], so under linf it is at most 1"
            )
        return self


class Dataset(Spec):
    """A data set: its name, where its files are, and how it is split."""

    # What an evaluation reads is in its own key; what files hold may be known by the name.
    unkeyed: ClassVar[frozenset[str]] = frozenset({"root", "corrupted"})
    later: ClassVar[frozenset[str]] = frozenset({"content", "augment", "extra", "classes"})
    name: DatasetName = Field(description="which data set; alone, it may stand for the mapping")
    root: Annotated[str, AfterValidator(absolute)] | None = Field(
        None, description="folder that holds its files; not part of any key"
    )
    content: Annotated[str, Field(pattern=r"^[0-9a-f]{20}$")] | None = Field(
        None,
        description="digest of its files, as `mrsweep data` tells it; only to be given where the "
        "machine that plans does not have them",
    )
    source: Literal["builtin", "torchvision", "parquet", "folder", "arrow"] = Field(
        "builtin",
        description="layout of the files under root; what the data set has but one of is filled in",
    )
    validation: Share = Field(0.1, description="share of the training images held out")
    split: Literal["shared", "by-seed"] = Field(
        "shared",
        description="of validation images: the same for all seeds, or each its own",
    )
    size: Annotated[Count, Unit("pixels")] | None = Field(
        None, ge=4, description="side in pixels to resize images to"
    )
    classes: Count | None = Field(
        None, ge=2, description="the first so many classes, in the order of their labels"
    )
    per_class: Images | None = Field(
        None, ge=2, description="training and validation images of a class, at most"
    )
    test_per_class: Images | None = Field(None, ge=1, description="test images of a class, at most")
    augment: tuple[Augmentation, ...] | None = Field(
        None,
        description="what every training image goes through, in order: torchvision.transforms.v2 "
        "by name, RandomHorizontalFlip or RandomCrop(32, padding=4); by default natural images "
        "are flipped and shifted by up to 4 pixels; [] for nothing",
    )
    extra: Extra | None = Field(None, description="further training images in every batch")
    corrupted: Annotated[str, AfterValidator(absolute)] | None = Field(
        None,
        description="folder with corrupted copies of the test images, laid out as CIFAR-10-C, for "
        "attacks corruption-files-*; the bytes of the files that they read are in their keys",
    )

    @model_validator(mode="before")
    @classmethod
    def _only_source(cls, data: Any) -> Any:
        """Fill in the source if the data set has only one."""
        if isinstance(data, dict) and str(data.get("name")) in DATASETS.methods:
            sources = DATASETS[str(data["name"])].traits
            if len(sources) == 1 and data.get("root") and "source" not in data:
                return {**data, "source": sources[0]}
        return data

    @model_validator(mode="after")
    def _source_fits_name(self) -> Self:
        method = DATASETS[self.name]
        sources = method.traits or ("torchvision", "parquet", "folder", "arrow")
        if "root" in method.needs and (self.root is None or self.source not in sources):
            raise ValueError(
                f"data set {self.name!r} needs root (the folder that holds it) "
                f"and source ({' or '.join(sources)})"
            )
        if "root" not in method.needs and (self.root or self.source != "builtin"):
            raise ValueError(f"data set {self.name!r} is built in; leave out root and source")
        if self.content is not None and not self.has_content:
            raise ValueError(f"data set {self.name!r} is what its name says; leave out content")
        return self

    def corrupted_file(self, attack: str) -> Path | None:
        """Return the file of images that an attack reads; None if it reads none."""
        corruption = ATTACKS.arguments(attack).get("file")
        if corruption is None or self.corrupted is None:
            return None
        return Path(self.corrupted, f"{corruption}.npy".replace("-", "_"))

    def attack_digest(self, attack: str) -> str:
        """Return what keys say of an attack besides its name; often nothing.

        That is the digest of its code, and of the file of images that it reads.
        """
        file = self.corrupted_file(attack)
        parts = (ATTACKS[attack].digest, file and file_digest(file))
        return "+".join(part for part in parts if part)

    @property
    def is_ours(self) -> bool:
        """Whether it is one of mrsweep's own, which are read from known places below root."""
        return self.name in DATASETS.methods

    @property
    def has_content(self) -> bool:
        """Whether its name does not say what its images are; torchvision checks published ones."""
        return self.root is not None and not (self.is_ours and self.source == "torchvision")


class Calibration(Spec):
    """The training images that a criterion reads, and the attack of robust criteria."""

    samples: Images = Field(512, ge=1, description="training images, every class in its share")
    batch_size: Images = Field(128, ge=1, description="images of a batch")
    attack_steps: Steps = Field(10, ge=1, description="PGD steps of robust criteria")


def _from_file(ratios: Any) -> Any:
    """Read the ratios from their file, if a name is given: keys include them and not the name."""
    if not isinstance(ratios, str):
        return ratios
    try:
        read = read_yaml(Path(absolute(ratios)).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YamlError) as error:
        line = f":{error.line}" if isinstance(error, YamlError) else ""
        raise ValueError(f"the file {ratios}{line} of ratios cannot be read: {error}") from error
    if read.faults:
        raise ValueError("; ".join(f"{ratios}:{line}: {fault}" for line, fault in read.faults))
    return read.data


class PruningRules(Spec):
    """The settings that all prunings of a sweep share."""

    min_keep: Annotated[Number, Field(ge=0, lt=1), Unit("share")] = Field(
        0.1,
        description="smallest share of its channels that a module keeps; it keeps at least one, "
        "and so does a layer of its weights, for which there is no other floor",
    )
    round_to: Annotated[Count, Unit("channels")] = Field(
        1,
        ge=1,
        description="by channel: every module keeps a multiple of so many channels, or all; odd "
        "widths can be slower than wider ones that are a multiple of 8",
    )
    leave: tuple[str, ...] | dict[str, tuple[str, ...]] = Field(
        (),
        description="layers, or parts of the network, whose modules are left whole, such as "
        "[conv1, layer4]; by architecture where they have other names",
    )
    mrs_exponent: Annotated[Number, Field(ge=0)] = Field(
        0.5,
        description="allocations mrs-perturbation and scan: kept shares are proportional to the "
        "sensitivity to this power",
    )
    calibration: Calibration = Field(Calibration(), description="images that criteria read")
    hydra: ScoreTraining = Field(
        ScoreTraining(), description="criterion hydra: how its scores are trained"
    )
    s2ap: S2apTraining = Field(
        S2apTraining(), description="criterion s2ap: how its scores are trained"
    )
    harp: HarpTraining = Field(
        HarpTraining(),
        description="criterion and allocation harp: how scores and shares are trained",
    )
    ratios: Annotated[
        dict[str, dict[str, Annotated[Number, Field(gt=0, le=1)]]], BeforeValidator(_from_file)
    ] = Field(
        {},
        description="allocation fixed: for each architecture the share that each module keeps, "
        "or the name of a YAML or JSON file with these",
    )

    def left(self, architecture: str) -> tuple[str, ...]:
        """Return the layers of an architecture that are left whole."""
        return self.leave.get(architecture, ()) if isinstance(self.leave, dict) else self.leave

    @cached_property
    def score_trainings(self) -> dict[str, Training]:
        """How scores are trained, by what a criterion needs, every default written out."""
        recipes = {"hydra": self.hydra, "s2ap": self.s2ap, "harp": self.harp}
        return {name: Training(**each.model_dump()).resolved() for name, each in recipes.items()}


def _ascending(shares: tuple[float, ...]) -> tuple[float, ...]:
    if list(shares) != sorted(set(shares)):
        raise ValueError(f"shares must rise, each once; given: {', '.join(map(str, shares))}")
    return shares


class Estimation(Spec):
    """How sensitivities are measured."""

    samples: Images = Field(512, ge=1, description="training images, every class in its share")
    batch_size: Images = Field(512, ge=1, description="images of a batch, at most")
    attack_steps: Steps = Field(
        10, ge=1, description="PGD steps that make the images adversarial, once"
    )
    shares: Annotated[tuple[Share, ...], AfterValidator(_ascending), Field(min_length=1)] = Field(
        (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875),
        description="damage curves (mrs, mrs-curve, ...): shares of a module's units that are "
        "removed, rising",
    )
    scan_share: Share = Field(
        0.5, description="allocation scan: share of a module's units that is removed"
    )
    epsilon: Annotated[Number, Field(gt=0), Unit("share")] = Field(
        0.1,
        description="mrs-perturbation-*: radius of a weight perturbation, of the weights' norm",
    )
    norm: Literal["frobenius", "spectral"] = Field(
        "frobenius",
        description="mrs-perturbation-*: norm of the weights, a matrix of outputs by the rest",
    )
    steps: Steps = Field(20, ge=1, description="mrs-perturbation: steps from each start")
    restarts: Count = Field(2, ge=1, description="mrs-perturbation: starts")
    few_steps: Steps = Field(8, ge=1, description="mrs-perturbation-few-step: steps")
    most_steps: Steps = Field(
        24,
        ge=1,
        description="mrs-perturbation-few-step: steps at most, while the loss still rises fast",
    )
