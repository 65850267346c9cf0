"""The reference of the sweep file, as Markdown: every key, from the models that read it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from orchestrator.sweepfile.evaluation import EvaluationRules
from orchestrator.sweepfile.model import Override, Sweep
from orchestrator.sweepfile.resources import Replication, Resources, Takes, Until
from prune_core.specs.checkpoints import Constants, DenseLevel, Expected
from prune_core.specs.compute import Compute
from prune_core.specs.fields import QUOTIENT, Spec
from prune_core.specs.images import Extra
from prune_core.specs.recipes import (
    AVERAGING,
    FinetuningLevel,
    HarpTraining,
    S2apTraining,
    ScoreTraining,
    Training,
)
from prune_core.specs.registry import AXES
from prune_core.specs.settings import Calibration, Dataset, Estimation, PruningRules, Threat

Json = dict[str, Any]
SECTIONS: tuple[tuple[str, type[Spec]], ...] = (
    ("The sweep", Sweep),
    ("dataset", Dataset),
    ("dataset.extra", Extra),
    ("A training", Training),
    ("finetuning.NAME", FinetuningLevel),
    ("dense.NAME", DenseLevel),
    ("dense.NAME.normalise", Constants),
    ("dense.NAME.expect", Expected),
    ("seeds", Replication),
    ("seeds.until", Until),
    ("threat", Threat),
    ("evaluation", EvaluationRules),
    ("sensitivity", Estimation),
    ("pruning", PruningRules),
    ("pruning.calibration", Calibration),
    ("pruning.hydra", ScoreTraining),
    ("pruning.s2ap", S2apTraining),
    ("pruning.harp", HarpTraining),
    ("compute", Compute),
    ("resources", Resources),
    ("resources.kinds.KIND", Takes),
    ("overrides", Override),
)
"""Where each model stands in a file, in the order of the page."""
HEADINGS = {model.__name__: heading for heading, model in SECTIONS}
BOUNDS = {
    "minimum": ">=", "ge": ">=", "exclusiveMinimum": ">", "gt": ">",
    "maximum": "<=", "le": "<=", "exclusiveMaximum": "<", "lt": "<",
    "minItems": "at least", "minProperties": "at least",
}  # fmt: skip
MOST = 2**60
"""A bound above it is only what tables can hold."""


def keys_markdown() -> str:
    """Return every key of a sweep file as Markdown, for the documents."""
    parts: list[str] = []
    for heading, model in SECTIONS:
        base = next((other for _, other in SECTIONS if other in model.__bases__), None)
        schema = model.model_json_schema()
        fields = schema["properties"]
        text = str(schema.get("description", "")).replace("``", "`").replace("\n\n", " ")
        parts += [f"## {_title(heading)}", "", text.replace("\n", " "), ""]
        if base is not None:
            inherited = base.model_json_schema()["properties"]
            fields = {key: said for key, said in fields.items() if said != inherited.get(key)}
            what = f"All of {_link(base.__name__)}"
            parts += [f"{what}, and these:" if fields else f"{what}.", ""]
        if fields:
            parts += ["| key | meaning | values | unit | default |", "| --- " * 5 + "|"]
            needed = schema.get("required", [])
            parts += [_row(key, said, key in needed) for key, said in fields.items()] + [""]
    return "\n".join([*parts, *_declared()])


def _declared() -> Iterator[str]:
    """Yield the defaults that methods declare, for settings that only some of them read."""
    yield from (
        "## Defaults of single methods",
        "",
        "| method | its own defaults |",
        "| --- | --- |",
    )
    for axis in ("objectives", "schedules", "policies"):
        for name, method in AXES[axis].methods.items():
            if declared := {**method.settings, **method.fixed}:
                said = ", ".join(f"`{key}: {json.dumps(value)}`" for key, value in declared.items())
                yield f"| `{name}` | {said} |"
    for name, declared in AVERAGING.items():
        if declared:
            said = ", ".join(f"`{key}: {json.dumps(value)}`" for key, value in declared.items())
            yield f"| averaging `{name}` | {said} |"


def _row(key: str, field: Json, needed: bool) -> str:
    default = "**needed**" if needed else _default(field.get("default"))
    cells = (f"`{key}`", field.get("description", ""), _values(field), _unit(field), default)
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _default(value: Any) -> str:
    """Return a default; that of a mapping of settings is what they have each."""
    if value is None:
        return "none"
    if isinstance(value, dict) and value:
        return "its own"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _values(field: Json) -> str:
    """Return in words what a value may be."""
    if "$ref" in field:
        return _link(field["$ref"].rpartition("/")[2])
    if "axis" in field:
        return f"`mrsweep list {field['axis']}`, or `package.module:name`"
    if "enum" in field or "const" in field:
        names = field.get("enum", [field.get("const")])
        return ", ".join(f"`{name}`" for name in names)
    if forms := field.get("anyOf") or field.get("oneOf"):
        words = dict.fromkeys(_values(form) for form in forms if form.get("type") != "null")
        return " or ".join(words) + _bounds(field)
    return _plain(field) + _bounds(field)


def _plain(field: Json) -> str:
    kind = field.get("type", "value")
    if field.get("pattern") == QUOTIENT:
        return "number"
    if kind == "array":
        return f"list of {_values(field['items'])}"
    if kind == "object":
        inner = [*field.get("patternProperties", {}).values(), field.get("additionalProperties")]
        return f"mapping of names to {_values(next(filter(None, inner), {}))}"
    words = {"string": "text", "boolean": "`true`, `false`", "integer": "whole number"}
    return words.get(kind, str(kind))


def _bounds(field: Json) -> str:
    bounds = {
        sign: field[name] for name, sign in BOUNDS.items() if name in field and field[name] < MOST
    }
    return "".join(f", {sign} {bound:g}" for sign, bound in bounds.items())


def _unit(field: Json) -> str:
    return ", ".join(dict.fromkeys(_units(field)))


def _units(field: Json) -> Iterator[str]:
    if "unit" in field:
        yield field["unit"]
    for form in field.get("anyOf", ()):
        yield from _units(form)
    if isinstance(field.get("items"), dict):
        yield from _units(field["items"])


def _title(heading: str) -> str:
    return f"`{heading}`" if heading[0].islower() else heading


def _link(model: str) -> str:
    """Return a link to a model's section; headings become anchors as GitHub and MkDocs do it."""
    heading = HEADINGS[model]
    anchor = heading.lower().replace(".", "").replace(" ", "-")
    return f"[{heading[:1].lower() + heading[1:]}](#{anchor})"
