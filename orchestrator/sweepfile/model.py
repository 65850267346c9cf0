"""Sweep files: what a user writes, checked whole before anything runs.

All faults are reported together, each with its line, what was given and what is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from orchestrator.sweepfile import short_forms
from orchestrator.sweepfile.changes import with_changes
from orchestrator.sweepfile.evaluation import EvaluationRules
from orchestrator.sweepfile.levels import Name, distinct, distinct_contents
from orchestrator.sweepfile.reading import SweepFileError as SweepFileError
from orchestrator.sweepfile.reading import parse, read_text
from orchestrator.sweepfile.resources import Replication, Resources
from orchestrator.sweepfile.rules import (
    Levels,
    Value,
    as_levels,
    factor_levels,
    fields_of,
    known_levels,
    setting_faults,
)
from prune_core.specs.checkpoints import DenseLevel
from prune_core.specs.compute import Compute
from prune_core.specs.fields import (
    AllocationName,
    ArchitectureName,
    Count,
    CriterionName,
    GranularityName,
    OneOf,
    Share,
    Spec,
)
from prune_core.specs.recipes import FinetuningLevel
from prune_core.specs.settings import Dataset, Estimation, PruningRules, Threat
from prune_core.specs.stages import JOB_KINDS, KEEPABLE

MOST_TRIALS = 1_000_000
"""Before any is excluded; a plan holds them all in memory."""
Kept = Annotated[str, OneOf(KEEPABLE)]


class Override(Spec):
    """Settings of the cells that match ``where``: ``set: {finetuning.lr: 0.005}``."""

    where: dict[str, Levels] = Field(
        min_length=1, description="factors with one level each, or a list of levels; all must match"
    )
    set: dict[str, Levels] = Field(
        min_length=1,
        description="settings of finetuning, dense, sensitivity and pruning, as section.key; of "
        "threat and evaluation too, where rules name data sets alone",
    )


class Sweep(Spec):
    """A sweep: the cross product of its factors, at every seed."""

    name: Name = Field(description="what the sweep's folder in storage is called")
    dataset: Annotated[Dataset, BeforeValidator(short_forms.named)] | None = Field(
        None, description="images; a bare name stands for {name: ...}"
    )
    datasets: Annotated[
        dict[Annotated[str, Field(min_length=1)], Dataset],
        BeforeValidator(short_forms.data_sets),
        AfterValidator(distinct_contents),
    ] = Field(
        {},
        validate_default=True,
        description="factor, in place of dataset: several sets of images, as a list, or by names "
        "of yours",
    )
    architectures: Annotated[
        tuple[ArchitectureName, ...], Field(min_length=1), AfterValidator(distinct)
    ] = Field(description="factor: networks")
    criteria: Annotated[
        tuple[CriterionName, ...], Field(min_length=1), AfterValidator(distinct)
    ] = Field(description="factor: which units of a module go first")
    sparsities: Annotated[tuple[Share, ...], Field(min_length=1), AfterValidator(distinct)] = Field(
        description="factor: share of the budget that is removed"
    )
    budget: Literal["params", "macs"] = Field(
        "params", description="what sparsities are of: parameters, or multiply-accumulates"
    )
    allocations: Annotated[
        tuple[AllocationName, ...], Field(min_length=1), AfterValidator(distinct)
    ] = Field(("uniform",), description="factor: how the budget is spread over modules")
    granularities: Annotated[
        tuple[GranularityName, ...], Field(min_length=1), AfterValidator(distinct)
    ] = Field(("channel",), description="factor: what is removed, as a whole")
    finetuning: Annotated[
        dict[Name, FinetuningLevel],
        Field(min_length=1),
        BeforeValidator(short_forms.grids),
        AfterValidator(distinct_contents),
    ] = Field(
        description="factor: trainings after pruning, by names of yours; a list as a setting "
        "stands for a level of each of its values"
    )
    dense: Annotated[
        dict[Name, DenseLevel],
        Field(min_length=1),
        BeforeValidator(short_forms.recipes),
        AfterValidator(distinct_contents),
    ] = Field(
        description="factor: trainings of the networks that are pruned, by names of yours; one "
        "recipe alone needs no name"
    )
    seeds: Annotated[
        Annotated[
            tuple[Annotated[Count, Field(ge=0)], ...],
            Field(min_length=1),
            AfterValidator(distinct),
            Tag("(list)"),
        ]
        | Annotated[Replication, Tag("(rule)")],
        Discriminator(lambda given: "(rule)" if isinstance(given, dict | Spec) else "(list)"),
        BeforeValidator(short_forms.seeds),
    ] = Field(
        (0,), description="blocks: how many from 0, a list, or a rule by which they are added"
    )
    threat: Threat = Field(description="what the adversary may do, in trainings and evaluations")
    evaluation: EvaluationRules = Field(description="what every network is measured by")
    sensitivity: Estimation = Field(Estimation(), description="how sensitivities are measured")
    pruning: PruningRules = Field(PruningRules(), description="what all prunings share")
    keep: tuple[Kept, ...] = Field(
        tuple(kind for kind in KEEPABLE if kind in JOB_KINDS),
        description="stages that stay in storage after the sweep",
    )
    compute: Compute = Field(Compute(), description="how trainings compute")
    resources: Resources = Field(Resources(), description="what jobs take while they run")
    exclude: tuple[dict[str, Levels], ...] = Field(
        (), description="combinations that are left out: factors with one level each, or a list"
    )
    overrides: tuple[Override, ...] = Field(
        (), description="other settings for some cells, the later rule over the earlier"
    )

    @field_validator("datasets")
    @classmethod
    def _one_or_several(
        cls, several: dict[str, Dataset], info: ValidationInfo
    ) -> dict[str, Dataset]:
        if "dataset" not in info.data:  # it is faulty, which is told
            return several
        one: Dataset | None = info.data["dataset"]
        if one is not None and several not in ({}, {one.name: one}):
            raise ValueError("give dataset for one, or datasets for several, not both")
        if one is None and not several:
            raise ValueError("missing: give dataset for one, or datasets for several")
        return several if one is None else {one.name: one}

    @field_validator("exclude")
    @classmethod
    def _exclude_known(
        cls, rules: tuple[dict[str, Levels], ...], info: ValidationInfo
    ) -> tuple[dict[str, Levels], ...]:
        checked = [known_levels(rule, info.data) for rule in rules]
        _raise_all(fault for _, faults in checked for fault in faults)
        return tuple(rule for rule, _ in checked)

    @field_validator("overrides")
    @classmethod
    def _overrides_fit(
        cls, overrides: tuple[Override, ...], info: ValidationInfo
    ) -> tuple[Override, ...]:
        faults: list[str] = []
        checked = []
        for override in overrides:
            where, where_faults = known_levels(override.where, info.data)
            faults += where_faults
            for key, value in override.set.items():
                faults += setting_faults(key, value, where, info.data)
            checked.append(override.model_copy(update={"where": where}))
        _raise_all(faults)
        return tuple(checked)

    @model_validator(mode="after")
    def _not_too_many(self) -> Self:
        counts = [len(levels) for levels in self.factors().values()]
        seeds = self.seeds.max if isinstance(self.seeds, Replication) else len(self.seeds)
        if (trials := math.prod(counts) * seeds) > MOST_TRIALS:
            raise ValueError(f"{trials:,} trials; a sweep has at most {MOST_TRIALS:,}: divide it")
        return self

    def blocks(self, count: int | None = None) -> tuple[int, ...]:
        """Return the seeds.

        Args:
            count: How many seeds so far, where seeds are added until the verdict is narrow
                enough; there are ``min`` at least.
        """
        if isinstance(self.seeds, Replication):
            return tuple(range(max(count or 0, self.seeds.min)))
        return self.seeds

    @property
    def attacks(self) -> tuple[str, ...]:
        """All attacks that networks of any data set are measured by."""
        others = [rule.set["evaluation.attacks"] for rule in self.overrides
                  if "evaluation.attacks" in rule.set]  # fmt: skip
        named = [str(name) for levels in others for name in as_levels(levels)]
        return tuple(dict.fromkeys([*self.evaluation.attacks, *named]))

    def images_key(self, name: str) -> str:
        """Return under which key of the file a data set stands."""
        return "dataset" if self.dataset else f"datasets.{name}"

    def factors(self) -> dict[str, tuple[Value, ...]]:
        """Return the levels of every factor; the seed is a block, not a factor."""
        return factor_levels(fields_of(self))


def _raise_all(faults: Iterator[str] | list[str]) -> None:
    if text := "; ".join(faults):
        raise ValueError(text)


def read_sweep(path: str | Path, changes: Sequence[str] = ()) -> Sweep:
    """Read and check a sweep file.

    Args:
        path: Where it lies.
        changes: Settings to change, each a ``section.key=value``.

    Raises:
        SweepFileError: The file cannot be read or is wrong; it holds every fault.
        RequestError: A change cannot be made.
    """
    name = " with ".join(filter(None, [str(path), " ".join(changes)]))
    return parse_sweep(sweep_text(path, changes), name)


def sweep_text(path: str | Path, changes: Sequence[str] = ()) -> str:
    """Return the text of a sweep file with settings changed, as `read_sweep` reads it."""
    return with_changes(read_text(path), changes)


def parse_sweep(text: str, name: str = "sweep") -> Sweep:
    """Check the text of a sweep file.

    Args:
        text: The file's content.
        name: Written before the line number of every fault.

    Raises:
        SweepFileError: It holds every fault.
    """
    return parse(Sweep, text, name, "a sweep is a mapping of keys such as name, criteria")
