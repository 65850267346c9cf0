"""Rules of a sweep file that hold for some cells: what ``exclude`` and ``overrides`` may name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from orchestrator.sweepfile.errors import allowed, clean
from orchestrator.sweepfile.evaluation import EvaluationRules
from orchestrator.sweepfile.resources import Replication
from prune_core.specs.checkpoints import DenseLevel
from prune_core.specs.fields import Spec, parse_number
from prune_core.specs.recipes import FinetuningLevel
from prune_core.specs.settings import Estimation, PruningRules, Threat

if TYPE_CHECKING:
    from orchestrator.sweepfile.model import Sweep

Value = bool | str | int | float
Levels = Value | tuple[Value, ...]
"""One level, or several: a rule matches any of them."""
FACTOR_FIELDS = {
    "dataset": "datasets",
    "architecture": "architectures",
    "dense": "dense",
    "criterion": "criteria",
    "sparsity": "sparsities",
    "allocation": "allocations",
    "granularity": "granularities",
    "finetuning": "finetuning",
}
"""The factors, each with the key of a sweep file that holds its levels."""
SECTIONS: dict[str, type[Spec]] = {
    "finetuning": FinetuningLevel,
    "dense": DenseLevel,
    "sensitivity": Estimation,
    "pruning": PruningRules,
    "threat": Threat,
    "evaluation": EvaluationRules,
}
"""What an override may set, as ``section.field``."""
BY_DATASET = ("threat", "evaluation")
"""Sections that differ between data sets alone: all networks of one are measured alike."""


def as_levels(given: Levels) -> tuple[Value, ...]:
    """Return one level, or several, as several."""
    return given if isinstance(given, tuple) else (given,)


def fields_of(sweep: Sweep) -> dict[str, Any]:
    """Return the fields of a sweep that hold the levels of its factors, by name."""
    return {field: getattr(sweep, field) for field in FACTOR_FIELDS.values()}


def factor_levels(data: Mapping[str, Any]) -> dict[str, tuple[Value, ...]]:
    """Return the levels of those factors that ``data``, fields of a sweep by name, holds."""
    return {factor: tuple(data[field]) for factor, field in FACTOR_FIELDS.items() if field in data}


def known_levels(
    rule: Mapping[str, Levels], data: Mapping[str, Any]
) -> tuple[dict[str, Levels], list[str]]:
    """Check that a rule names factors and levels of the sweep.

    Args:
        rule: Levels by factor, as the file gives them; ``8/10`` means the level 0.8.
        data: The fields of the sweep that are valid so far.

    Returns:
        The rule with numbers read, and a line of text for every fault.
    """
    levels: dict[str, tuple[Any, ...]] = {
        **factor_levels(data),
        "seed": _all_seeds(data.get("seeds", ())),
    }
    checked: dict[str, Levels] = {}
    faults: list[str] = []
    for factor, given in rule.items():
        if factor not in FACTOR_FIELDS and factor != "seed":
            faults.append(f"unknown factor {factor!r}; {allowed(factor, [*FACTOR_FIELDS, 'seed'])}")
            continue
        try:
            read = tuple(
                parse_number(value) if factor == "sparsity" else value for value in as_levels(given)
            )
        except ValueError as error:
            faults.append(f"{factor}: {error}")
            continue
        if len(set(read)) < len(read) or not read:
            faults.append(f"{factor}: give at least one level, each once")
        checked[factor] = read
        for value, level in zip(as_levels(given), read, strict=True):
            # True equals 1, but is no seed.
            if levels.get(factor) and (isinstance(level, bool) or level not in levels[factor]):
                known = [str(level) for level in levels[factor]]
                faults.append(f"{factor} has no level {value!r}; {allowed(str(value), known)}")
    return checked, faults


def setting_faults(
    key: str, value: Levels, where: Mapping[str, Levels], data: Mapping[str, Any]
) -> list[str]:
    """Say what is wrong with setting ``section.field`` to a value for the matching levels."""
    section, _, field = key.partition(".")
    known = [f"{name}.{field}" for name, model in SECTIONS.items() for field in model.model_fields]
    if key not in known:
        return [f"cannot set {key!r}; {allowed(key, known)}"]
    if section in BY_DATASET and set(where) != {"dataset"}:
        return [f"{key} may differ between data sets alone; where: {{dataset: ...}}"]
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


def _all_seeds(seeds: tuple[int, ...] | Replication) -> tuple[int, ...]:
    return tuple(range(seeds.max)) if isinstance(seeds, Replication) else seeds
