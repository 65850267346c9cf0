"""A sweep file that says the same on any machine: what lies elsewhere is named, or comes along."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from orchestrator.planning.plan import Plan
from orchestrator.sweepfile.changes import with_changes
from orchestrator.sweepfile.short_forms import data_sets, named, recipes
from prune_core.specs.checkpoints import PLACEHOLDERS, REMOTE, located
from prune_core.specs.plain_yaml import read_yaml
from prune_core.specs.stages import dense_of
from results.publish.places import without_paths

CHANGED = "# Changed by the command:"
CHECKPOINTS = "checkpoints"
PLACES = {"root": "IMAGES", "corrupted": "CORRUPTED", "extra.file": "EXTRA"}
"""Settings of a data set that name places, and the variables that stand for them in a bundle."""
NO_WORD = re.compile(r"\W")
SET = re.compile(r"\$\{?\w+\}?(/|$)")
"""A folder that the user already left to each machine, such as ``$CIFAR10``."""


@dataclass(frozen=True)
class Portable:
    """A sweep file without paths of a machine.

    Attributes:
        text: What it says.
        files: What it names beside it, by path.
        elsewhere: What is not in the bundle: settings, and what stands in their place.
    """

    text: str
    files: Mapping[str, Path]
    elsewhere: Mapping[str, Any]


def portable(text: str, plan: Plan) -> Portable:
    """Return a sweep's file as others can use it; its trials have the same keys.

    Args:
        text: The file as it ran.
        plan: Its plan.

    Raises:
        RequestError: A setting cannot be changed in the text.
    """
    written = read_yaml(text).data
    elsewhere: dict[str, Any] = {}
    changes: dict[str, Any] = {}
    several = data_sets(written.get("datasets")) or {}
    if isinstance(written.get("datasets"), list):
        changes["datasets"] = several  # a mapping of the same, whose keys have names
    for name, data in plan.sweep.datasets.items():
        key, given = plan.sweep.images_key(name), several.get(name) or named(written.get("dataset"))
        ending = f"_{NO_WORD.sub('_', name).upper()}" if several else ""
        elsewhere |= _elsewhere(key, given, ending)
        if data.extra is not None:
            changes[f"{key}.extra.content"] = data.extra.content
    patterns = _patterns(written["dense"])
    changes |= {**elsewhere, **patterns, **_ratios(written.get("pruning"), plan)}
    made = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    lines = [
        without_paths(line) if line.startswith(CHANGED) else line
        for line in with_changes(text, made).splitlines()
    ]
    return Portable("\n".join(lines) + "\n", dict(_checkpoints(plan, patterns)), elsewhere)


def _elsewhere(key: str, given: Mapping[str, Any], ending: str) -> dict[str, Any]:
    """Return the folders and files of images, each with the variable that each machine may set."""
    found = {}
    for name, variable in PLACES.items():
        value: Any = given
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None and not SET.match(str(value)):
            found[f"{key}.{name}"] = f"${variable}{ending}"
    return found


def _ratios(pruning: Any, plan: Plan) -> dict[str, Any]:
    """Return the ratios themselves where the file names another that holds them."""
    named = isinstance(pruning, dict) and isinstance(pruning.get("ratios"), str)
    return {"pruning.ratios": plan.sweep.pruning.ratios} if named else {}


def _patterns(dense: Any) -> dict[str, Any]:
    """Return what checkpoints are called in the bundle, placeholders kept, by their setting."""
    found = {}
    for name, level in recipes(dense).items():
        given = level.get("checkpoint")
        if given is not None and not given.startswith(REMOTE):
            kept = [f"-{{{word}}}" for word in PLACEHOLDERS if f"{{{word}}}" in given]
            key = f"dense.{name}.checkpoint" if name in dense else "dense.checkpoint"
            found[key] = f"{CHECKPOINTS}/{name}{''.join(kept)}{PurePath(given).suffix}"
    return found


def _checkpoints(plan: Plan, patterns: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """Yield where each checkpoint lies in the bundle, and where it lies here."""
    for job in plan.trials.values():
        labels = job.labels or {}
        name, start = str(labels["dense"]), dense_of(job.stage).checkpoint
        pattern = patterns.get(f"dense.{name}.checkpoint") or patterns.get("dense.checkpoint")
        if start is not None and pattern is not None:
            of = {word: str(labels[word]) for word in PLACEHOLDERS}
            yield pattern.format(**of), located(start.file)
