"""What is tried beside a study: its sweep with one new level in place of a factor's others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from orchestrator.errors import RequestError
from orchestrator.sweepfile.errors import clean
from orchestrator.sweepfile.model import Sweep
from orchestrator.sweepfile.rules import FACTOR_FIELDS, Levels, as_levels
from prune_core.specs.fields import AllocationName, CriterionName
from prune_core.specs.recipes import FinetuningLevel


class Kind(StrEnum):
    """What may be tried."""

    criterion = "criterion"
    allocation = "allocation"
    objective = "objective"


class Tried(NamedTuple):
    """A sweep of what is tried alone, and the levels that are new in it."""

    sweep: Sweep
    factor: str
    levels: tuple[str, ...]


def tried(study: Sweep, kind: Kind, name: str, seeds: Sequence[int]) -> Tried:
    """Return the sweep of a new method, alike to the study in all else.

    Args:
        study: The study's sweep.
        kind: What the method is.
        name: A name of the axis, or ``package.module:function``.
        seeds: Those of the study's trials.

    Raises:
        RequestError: There is no such method, or the study has it already.
    """
    if kind is Kind.objective:
        factor, levels = "finetuning", _trainings(study, name)
    else:
        factor, levels = kind.value, _named(study, kind, name)
    new: dict[str, Any] = {
        "name": f"try-{kind}-{re.sub(r'[^A-Za-z0-9_.-]+', '-', name)}"[:64],
        "seeds": tuple(seeds),
        FACTOR_FIELDS[factor]: levels if factor == "finetuning" else tuple(levels),
        "exclude": tuple(rule for rule in study.exclude if _may_match(rule, factor, levels)),
        "overrides": tuple(
            rule for rule in study.overrides if _may_match(rule.where, factor, levels)
        ),
    }
    return Tried(study.model_copy(update=new), factor, tuple(levels))


def _named(study: Sweep, kind: Kind, name: str) -> dict[str, Any]:
    checked = TypeAdapter(CriterionName if kind is Kind.criterion else AllocationName)
    if name in study.factors()[kind]:
        raise RequestError(f"the study has {kind} {name!r} already")
    return {_valid(checked.validate_python, name): None}


def _trainings(study: Sweep, name: str) -> dict[str, Any]:
    """Return the study's trainings with another objective, each once, by names that are new."""
    trained = {label: level for label, level in study.finetuning.items() if level.epochs}
    attacking = {label for label, level in trained.items() if level.adversarial}
    levels: dict[str, FinetuningLevel] = {}
    for label, level in trained.items():
        data = {**level.model_dump(exclude_unset=True), "objective": name}
        new = _valid(FinetuningLevel.model_validate, data)
        alike = not attacking or label in attacking or not new.adversarial
        if alike and new not in levels.values():
            levels[f"{name.rpartition(':')[2]}-as-{label}"] = new
    if known := [label for label, level in trained.items() if level.objective == name]:
        raise RequestError(f"the study has objective {name!r} already: {', '.join(known)}")
    if not levels:
        raise RequestError("the study fine-tunes nothing, so there is no objective to change")
    return levels


def _valid(check: Any, given: Any) -> Any:
    try:
        return check(given)
    except ValidationError as error:
        said = dict.fromkeys(clean(fault["msg"]) for fault in error.errors())
        raise RequestError("; ".join(said)) from error


def _may_match(rule: dict[str, Levels], factor: str, levels: dict[str, Any]) -> bool:
    return factor not in rule or bool(set(as_levels(rule[factor])) & set(levels))
