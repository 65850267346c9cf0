"""The JSON Schema of sweep files, for editors: with the short forms that a file may use."""

from __future__ import annotations

from typing import Any

from orchestrator.sweepfile.model import Sweep

Json = dict[str, Any]


def json_schema() -> Json:
    """Return the JSON Schema of what `parse_sweep` reads, short forms included."""
    schema = Sweep.model_json_schema()
    fields, parts = schema["properties"], schema["$defs"]
    _also(fields["dataset"], {"type": "string"})
    one = {"anyOf": [{"$ref": "#/$defs/Dataset"}, {"type": "string"}]}
    fields["datasets"]["additionalProperties"] = one
    _also(fields["datasets"], {"type": "array", "items": one})
    _also(fields["seeds"], {"type": "integer", "minimum": 1})
    _also(fields["dense"], {"$ref": "#/$defs/DenseLevel"})
    _also(parts["PruningRules"]["properties"]["ratios"], {"type": "string"})
    for setting in parts["FinetuningLevel"]["properties"].values():
        one = {key: setting.pop(key) for key in [*setting] if key not in ("default", "description")}
        setting["anyOf"] = [one, {"type": "array", "items": one}]
    for size in ("memory", "time_limit", "checkpoint_every"):
        for rule in ("Takes", "Resources"):
            _also(parts[rule]["properties"][size], {"type": "string"})
    return schema


def _also(field: Json, form: Json) -> None:
    """Let a value have another form too; what is said of it stays beside both."""
    said = {key: field.pop(key) for key in ("default", "description", "title") if key in field}
    first = dict(field)
    field.clear()
    field.update(said | {"anyOf": [first, form]})
