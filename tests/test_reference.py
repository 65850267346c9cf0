"""The references: made from the schema and the command line, whole, and as committed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.sweepfile.editors import json_schema
from orchestrator.sweepfile.model import Sweep
from orchestrator.sweepfile.reference import HEADINGS
from orchestrator.sweepfile.shipped import shipped_sweeps
from prune_core.specs.plain_yaml import read_yaml

from command import mrsweep
from conftest import sweep_text

DOCS = Path(__file__).parents[1] / "docs"
SCHEMA = json_schema()


def written(page: str, command: str) -> str:
    """What a page holds that a command makes."""
    _, mark, text = (DOCS / page).read_text().partition(f"From here on: mrsweep {command} -->\n")
    assert mark
    return text.strip()


@pytest.mark.parametrize(
    ("page", "option"), [("sweep-file.md", "--keys"), ("commands.md", "--commands")]
)
def test_a_reference_is_what_is_made(page: str, option: str) -> None:
    """If this fails: write the page's part below the mark anew, by the command."""
    assert written(page, f"schema {option}") == mrsweep("schema", option).stdout.strip()


def models() -> dict[str, Any]:
    schema = Sweep.model_json_schema()
    return {"Sweep": schema, **schema["$defs"]}


def test_every_key_has_a_meaning() -> None:
    silent = [
        f"{name}.{key}"
        for name, model in models().items()
        for key, field in model["properties"].items()
        if not field.get("description")
    ]
    assert silent == []


def test_every_model_has_a_section() -> None:
    assert set(models()) <= set(HEADINGS)


@pytest.mark.parametrize("name", shipped_sweeps())
def test_editors_take_the_sweeps_that_ship(name: str) -> None:
    data = read_yaml(shipped_sweeps()[name].read_text()).data
    assert list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(data)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"critera": "[l1]"},
        {"seeds": "0"},
        {"finetuning": "{a: {epochs: [two]}}"},
        {"dense": "{objective: pgd, lr: fast}"},
        {"resources": "{kinds: {train: {cpus: 1}}}"},
    ],
)
def test_editors_refuse_what_is_wrong(change: dict[str, str]) -> None:
    data = read_yaml(sweep_text(**change)).data
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(data)


def test_help_is_whole() -> None:
    text = mrsweep("--help").stdout
    assert "..." not in text.replace("[ARGS]...", "")
    for word in ("Exit codes:", "130", "MRSWEEP_CACHE", "NO_COLOR"):
        assert word in text
    assert "  mrsweep run demo.yaml" in mrsweep("run", "--help").stdout
