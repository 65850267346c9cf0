"""Sweep files: what a user writes, checked whole before anything runs.

All faults are reported together, each with its line, what was given and what is allowed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from orchestrator.sweepfile.errors import allowed, clean, describe
from orchestrator.sweepfile.resources import Replication, Resources
from orchestrator.sweepfile.yaml import YamlError, read_yaml
from prune_core.specs.fields import (
    AllocationName,
    ArchitectureName,
    AttackName,
    CriterionName,
    GranularityName,
    Share,
    Spec,
    parse_number,
)
from prune_core.specs.recipes import RATE, Compute, FinetuningLevel, Training, rewinds_rate
from prune_core.specs.registry import POLICIES
from prune_core.specs.settings import Dataset, Estimation, PruningRules, Threat

Value = str | int | float
Levels = Value | tuple[Value, ...]
"""A level, or several: a rule matches any of them."""
SECTIONS: dict[str, type[Spec]] = {
    "finetuning": FinetuningLevel,
    "dense": Training,
    "sensitivity": Estimation,
    "pruning": PruningRules,
}
"""What an override may set, as ``section.field``."""


class SweepFileError(ValueError):
    """A sweep file with faults; ``faults`` holds a line of text for each."""

    def __init__(self, faults: Sequence[str]):
        super().__init__("\n".join(faults))
        self.faults = list(faults)


T = TypeVar("T")


def _distinct(levels: tuple[T, ...]) -> tuple[T, ...]:
    if again := sorted({str(level) for level in levels if levels.count(level) > 1}):
        raise ValueError(f"repeated: {', '.join(again)}; give every level once")
    return levels


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _grids(value: Any) -> Any:
    """Write out levels that give several values to a setting: one for every combination.

    What a combination's policy does not read is left out of it, and combinations that then say the
    same are one.
    """
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for name, level in value.items():
        several = _several(level)
        if not several:
            found[name] = level
        for combination in itertools.product(*several.values()) if several else ():
            data = _with_a_say({**level, **dict(zip(several, combination, strict=True))})
            parts = [str(data[field]).replace(":", ".") for field in several if field in data]
            label = "-".join([str(name), *parts])
            if data in found.values():
                continue
            if label in found or label in value:
                raise ValueError(f"two levels are called {label!r}; rename {name!r}")
            found[label] = data
    return found


def _several(level: Any) -> dict[str, list[Any]]:
    """Return the settings of a level that are given several values."""
    if not isinstance(level, dict):
        return {}
    lists = {field: values for field, values in level.items() if isinstance(values, list)}
    milestones = lists.get("milestones")
    if milestones is not None and not all(isinstance(values, list) for values in milestones):
        del lists["milestones"]  # one value, which is a list
    return lists


def _with_a_say(level: dict[str, Any]) -> dict[str, Any]:
    policy = level.get("policy", "finetune")
    silent: set[str] = set() if policy == "iterative" else {"rounds"}
    if policy in POLICIES.methods and rewinds_rate(policy):
        silent |= set(RATE)
    return {field: value for field, value in level.items() if field not in silent}


def _recipes(value: Any) -> Any:
    """Take one recipe as the only level of the factor ``dense``."""
    several = isinstance(value, dict) and value and all(isinstance(v, dict) for v in value.values())
    return value if several else {"dense": value}


def _seeds(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise ValueError(f"{value} seeds; give at least 1, or a list")
        return tuple(range(value))
    return value


def _distinct_contents(levels: dict[str, Any]) -> dict[str, Any]:
    names = list(levels)
    for index, name in enumerate(names):
        for other in names[:index]:
            if levels[name] == levels[other]:
                raise ValueError(f"{name!r} and {other!r} say the same; give every level once")
    return levels


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Kept = Literal["dense", "rewind", "scores", "prune", "finetune"]


class EvaluationRules(Spec):
    """What every network is measured by, besides clean accuracy."""

    attacks: Annotated[tuple[AttackName, ...], Field(min_length=1), AfterValidator(_distinct)]
    sanity_images: int = Field(
        64,
        ge=0,
        description="test images that every final network is checked on for false robustness; "
        "0 makes no check",
    )


class Override(Spec):
    """Settings of the cells that match ``where``: ``set: {finetuning.lr: 0.005}``."""

    where: dict[str, Levels] = Field(min_length=1)
    set: dict[str, Value] = Field(min_length=1)


class Sweep(Spec):
    """A sweep: the cross product of its factors, at every seed."""

    name: Name
    dataset: Annotated[Dataset, BeforeValidator(_named)]
    architectures: Annotated[
        tuple[ArchitectureName, ...], Field(min_length=1), AfterValidator(_distinct)
    ]
    criteria: Annotated[tuple[CriterionName, ...], Field(min_length=1), AfterValidator(_distinct)]
    sparsities: Annotated[tuple[Share, ...], Field(min_length=1), AfterValidator(_distinct)]
    budget: Literal["params", "macs"] = "params"
    allocations: Annotated[
        tuple[AllocationName, ...], Field(min_length=1), AfterValidator(_distinct)
    ] = ("uniform",)
    granularities: Annotated[
        tuple[GranularityName, ...], Field(min_length=1), AfterValidator(_distinct)
    ] = ("channel",)
    finetuning: Annotated[
        dict[Name, FinetuningLevel],
        Field(min_length=1),
        BeforeValidator(_grids),
        AfterValidator(_distinct_contents),
    ]
    dense: Annotated[
        dict[Name, Training],
        Field(min_length=1),
        BeforeValidator(_recipes),
        AfterValidator(_distinct_contents),
    ]
    seeds: Annotated[
        Annotated[
            tuple[Annotated[int, Field(ge=0)], ...],
            Field(min_length=1),
            AfterValidator(_distinct),
            Tag("(list)"),
        ]
        | Annotated[Replication, Tag("(rule)")],
        Discriminator(lambda given: "(rule)" if isinstance(given, dict | Spec) else "(list)"),
        BeforeValidator(_seeds),
    ] = (0,)
    threat: Threat
    evaluation: EvaluationRules
    sensitivity: Estimation = Estimation()
    pruning: PruningRules = PruningRules()
    keep: tuple[Kept, ...] = Field(
        ("dense", "rewind", "scores", "prune"),
        description="stages that stay in storage after the sweep",
    )
    compute: Compute = Compute()
    resources: Resources = Resources()
    exclude: tuple[dict[str, Levels], ...] = ()
    overrides: tuple[Override, ...] = ()

    @field_validator("exclude")
    @classmethod
    def _exclude_known(
        cls, rules: tuple[dict[str, Levels], ...], info: ValidationInfo
    ) -> tuple[dict[str, Levels], ...]:
        checked = [_known_levels(rule, info.data) for rule in rules]
        _raise_all(fault for _, faults in checked for fault in faults)
        return tuple(rule for rule, _ in checked)

    @field_validator("overrides")
    @classmethod
    def _overrides_fit(
        cls, overrides: tuple[Override, ...], info: ValidationInfo
    ) -> tuple[Override, ...]:
        faults: list[str] = []
        found = []
        for override in overrides:
            where, wrong = _known_levels(override.where, info.data)
            faults += wrong
            faults += [
                f
                for key, value in override.set.items()
                for f in _unsettable(key, value, where, info.data)
            ]
            found.append(override.model_copy(update={"where": where}))
        _raise_all(faults)
        return tuple(found)

    def blocks(self, count: int | None = None) -> tuple[int, ...]:
        """Return the seeds; the first ``count``, at least ``min``, where they are to be added."""
        if isinstance(self.seeds, Replication):
            return tuple(range(max(count or 0, self.seeds.min)))
        return self.seeds

    def factors(self) -> dict[str, tuple[Value, ...]]:
        """Return the levels of every factor; the seed is a block, not a factor."""
        return factor_levels({field: getattr(self, field) for field in FACTOR_FIELDS.values()})


FACTOR_FIELDS = {
    "architecture": "architectures",
    "dense": "dense",
    "criterion": "criteria",
    "sparsity": "sparsities",
    "allocation": "allocations",
    "granularity": "granularities",
    "finetuning": "finetuning",
}


def factor_levels(data: Mapping[str, Any]) -> dict[str, tuple[Value, ...]]:
    """Return the levels of those factors that ``data``, fields of a sweep by name, holds."""
    return {factor: tuple(data[field]) for factor, field in FACTOR_FIELDS.items() if field in data}


def _raise_all(faults: Iterator[str] | list[str]) -> None:
    if found := list(faults):
        raise ValueError("; ".join(found))


def as_levels(given: Levels) -> tuple[Value, ...]:
    """Return one level, or several, as several."""
    return given if isinstance(given, tuple) else (given,)


def _all_seeds(seeds: tuple[int, ...] | Replication) -> tuple[int, ...]:
    return tuple(range(seeds.max)) if isinstance(seeds, Replication) else seeds


def _known_levels(
    rule: Mapping[str, Levels], data: Mapping[str, Any]
) -> tuple[dict[str, Levels], list[str]]:
    """Check that a rule names factors and levels of the sweep; ``8/10`` finds the level 0.8."""
    levels: dict[str, tuple[Any, ...]] = {
        **factor_levels(data),
        "seed": _all_seeds(data.get("seeds", ())),
    }
    found: dict[str, Levels] = {}
    faults: list[str] = []
    for factor, given in rule.items():
        if factor not in FACTOR_FIELDS and factor != "seed":
            faults.append(f"unknown factor {factor!r}; {allowed(factor, [*FACTOR_FIELDS, 'seed'])}")
            continue
        found[factor] = tuple(
            parse_number(value) if factor == "sparsity" else value for value in as_levels(given)
        )
        for value, level in zip(as_levels(given), as_levels(found[factor]), strict=True):
            if levels.get(factor) and level not in levels[factor]:
                known = [str(known) for known in levels[factor]]
                faults.append(f"{factor} has no level {value!r}; {allowed(str(value), known)}")
    return found, faults


def _unsettable(
    key: str, value: Value, where: Mapping[str, Levels], data: Mapping[str, Any]
) -> list[str]:
    """Say what is wrong with setting ``section.field`` to a value for the matching levels."""
    section, _, field = key.partition(".")
    known = [f"{name}.{f}" for name, model in SECTIONS.items() for f in model.model_fields]
    if key not in known:
        return [f"cannot set {key!r}; {allowed(key, known)}"]
    current = data.get(section)
    levels = current.values() if isinstance(current, dict) else [current]
    if section in where and isinstance(current, dict):
        levels = [level for name, level in current.items() if name in as_levels(where[section])]
    faults = []
    for level in levels:
        if level is not None:
            try:
                given = level.model_dump(exclude_unset=True)
                SECTIONS[section].model_validate({**given, field: value})
            except ValidationError as error:
                faults += [f"{key} = {value!r}: {clean(e['msg'])}" for e in error.errors()]
    return list(dict.fromkeys(faults))


def read_sweep(path: str | Path) -> Sweep:
    """Read and check a sweep file. Raises `SweepFileError` with every fault."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SweepFileError([f"{path}: cannot be read: {reason}"]) from error
    return parse_sweep(text, str(path))


def parse_sweep(text: str, name: str = "sweep") -> Sweep:
    """Check the text of a sweep file; ``name`` stands before the line of every fault."""
    try:
        data, lines = read_yaml(text)
    except YamlError as error:
        raise SweepFileError([f"{name}:{error.line}: {error}"]) from error
    if not isinstance(data, dict):
        raise SweepFileError([f"{name}:1: a sweep is a mapping of keys such as name, criteria"])
    try:
        return Sweep.model_validate(data)
    except ValidationError as error:
        raise SweepFileError(describe(error, Sweep, lines, name)) from error
