"""Sweep files and documents that list all methods of an axis: none is missing, none is made up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.sweepfile.model import Sweep, read_sweep
from prune_core.specs.compute import Compute
from prune_core.specs.recipes import FinetuningLevel
from prune_core.specs.registry import AXES
from results.tables.schema import SUBFACTORS, TABLES

from rows import names

ROOT = Path(__file__).parents[1]
FINETUNING = (ROOT / "docs" / "finetuning.md").read_text()
PLACEHOLDERS = {
    "<attack>+<then>": "A+B+C", "<attack>": "A", "<corruption>": "NAME", "<file>": "NAME",
    "<severity>": "S", "<k>": "K", "<n>": "N", "<objective>": "…", "<criterion>": "NAME",
}  # fmt: skip
"""What documents write for placeholders."""


def sweep(name: str) -> Sweep:
    return read_sweep(ROOT / "sweeps" / f"{name}.yaml")


def methods_of(axis: str, used: object) -> set[str]:
    """The methods that answer to names as a sweep uses them."""
    return {AXES[axis][name].name for name in used}


@pytest.mark.parametrize("axis", ["criteria", "allocations", "granularities"])
def test_the_sweep_of_all_methods_has_them_all(axis: str) -> None:
    assert methods_of(axis, getattr(sweep("methods"), axis)) == set(AXES[axis].methods)


@pytest.mark.parametrize(
    ("files", "axis", "setting"),
    [
        ("finetuning", "objectives", "objective"),
        ("finetuning growth", "policies", "policy"),
        ("schedules", "schedules", "schedule"),
        ("schedules", "policies", "policy"),
    ],
)
def test_the_sweeps_of_fine_tuning_have_all(files: str, axis: str, setting: str) -> None:
    """What changes masks has a sweep of its own, by weight."""
    levels = [level for file in files.split() for level in sweep(file).finetuning.values()]
    used = {getattr(level, setting) for level in levels}
    assert methods_of(axis, used) == set(AXES[axis].methods)


def documented(axis: str) -> set[str]:
    """The methods of an axis as documents write them."""
    found = set()
    for name in AXES[axis].methods:
        for placeholder, text in PLACEHOLDERS.items():
            name = name.replace(placeholder, text)
        found.add(name)
    return found


def first_cells(page: str, heading: str) -> set[str]:
    """The names in the first column of the first table under a heading."""
    table = page.partition(f"## {heading}")[2].partition("\n| --- ")[2].partition("\n\n")[0]
    cells = (line.split("|")[1] for line in table.splitlines()[1:])
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


@pytest.mark.parametrize(
    ("axis", "heading"),
    [("objectives", "Objectives, and what they do with BatchNorm"), ("attacks", "Attacks")],
)
def test_the_tables_of_the_documents_have_them_all(axis: str, heading: str) -> None:
    assert first_cells(FINETUNING, heading) == documented(axis)


def test_every_architecture_was_measured() -> None:
    """Written by benchmarks/pruning.py; a library's networks have one to stand for them."""
    page = (ROOT / "docs" / "architectures.md").read_text()
    assert set(re.findall(r"^\| (\S+) \| \d", page, re.MULTILINE)) == set(names("architectures"))


def test_policies_and_schedules_are_all_documented() -> None:
    table = FINETUNING.partition("| setting | values |")[2].partition("## Objectives")[0]
    named = set(re.findall(r"`([^`]+)`", table))
    assert {*AXES["policies"].methods, *AXES["schedules"].methods} <= named


def test_every_setting_of_a_training_is_a_column() -> None:
    columns = {column.name for column in TABLES["trials"]}
    assert {*FinetuningLevel.model_fields, *Compute.model_fields} <= columns
    assert set(SUBFACTORS) == set(FinetuningLevel.model_fields)
