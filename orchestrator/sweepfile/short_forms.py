"""Short forms of a sweep file, written out: a name for a data set, lists of settings, counts."""

from __future__ import annotations

import itertools
import math
from typing import Any

from orchestrator.sweepfile.resources import MOST_SEEDS
from prune_core.specs.fields import no_truth
from prune_core.specs.recipes import RATE, Growth, prunes_in_rounds, rewinds_rate
from prune_core.specs.registry import POLICIES

MOST_LEVELS = 1000
"""Combinations of the settings of one level that gives lists."""


def named(value: Any) -> Any:
    """Read a bare name as a mapping that gives nothing but the name."""
    return {"name": value} if isinstance(value, str) else value


def data_sets(value: Any) -> Any:
    """Read a list of data sets as a mapping by their names, each as `named` reads it."""
    if isinstance(value, list):
        sets = [named(one) for one in value]
        names = [str(one["name"]) if isinstance(one, dict) and "name" in one else str(one)
                 for one in sets]  # fmt: skip
        if again := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"repeated: {', '.join(again)}; to have one in several forms, give each a name of "
                f"yours: {{small: {{name: {again[0]}, ...}}, large: ...}}"
            )
        return dict(zip(names, sets, strict=True))
    if isinstance(value, dict):
        if isinstance(value.get("name"), str):
            raise ValueError("it is a list, or a mapping of names of yours; for one, give dataset")
        return {name: named(one) for name, one in value.items()}
    return value


def seeds(value: Any) -> Any:
    """Read a number as that many seeds, counted from 0."""
    if isinstance(no_truth(value), int):
        if not 1 <= value <= MOST_SEEDS:
            raise ValueError(f"{value} seeds; give at least 1, at most {MOST_SEEDS}, or a list")
        return tuple(range(value))
    return value


def recipes(value: Any) -> Any:
    """Read a single recipe as the only level of the factor ``dense``."""
    several = isinstance(value, dict) and value and all(isinstance(v, dict) for v in value.values())
    return value if several else {"dense": value}


def grids(value: Any) -> Any:
    """Write out levels that give several values to a setting: one level for every combination.

    Settings that a combination's policy does not read are left out of it. Combinations that are
    equal then are one level.
    """
    if not isinstance(value, dict):
        return value
    levels: dict[str, Any] = {}
    for name, level in value.items():
        lists = _settings_with_several_values(level)
        if not lists:
            levels[name] = level
        if (count := math.prod(map(len, lists.values()))) > MOST_LEVELS:
            raise ValueError(f"{name!r} has {count:,} combinations; give at most {MOST_LEVELS}")
        for combination in itertools.product(*lists.values()) if lists else ():
            data = _without_unread_settings({**level, **dict(zip(lists, combination, strict=True))})
            parts = [str(data[setting]).replace(":", ".") for setting in lists if setting in data]
            label = "-".join([str(name), *parts])
            if data in levels.values():
                continue
            if label in levels or label in value:
                raise ValueError(f"two levels are called {label!r}; rename {name!r}")
            levels[label] = data
    return levels


def _settings_with_several_values(level: Any) -> dict[str, list[Any]]:
    if not isinstance(level, dict):
        return {}
    lists = {setting: values for setting, values in level.items() if isinstance(values, list)}
    milestones = lists.get("milestones")
    if milestones is not None and not all(isinstance(values, list) for values in milestones):
        del lists["milestones"]  # one value, which is a list
    return lists


def _without_unread_settings(level: dict[str, Any]) -> dict[str, Any]:
    policy = str(level.get("policy", "finetune"))
    known = policy in POLICIES.methods
    unread: set[str] = set() if known and prunes_in_rounds(policy) else {"rounds"}
    if known and rewinds_rate(policy):
        unread |= set(RATE)
    if known:
        unread |= set(Growth.model_fields) - set(POLICIES[policy].settings)
    return {setting: value for setting, value in level.items() if setting not in unread}
