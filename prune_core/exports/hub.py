"""A network as a folder that the Hugging Face Hub takes: weights, configuration, model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prune_core.exports import files
from prune_core.exports.description import Description
from prune_core.models.classifier import Classifier

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
STAGES = {"dense": "before pruning", "pruned": "pruned", "finetuned": "fine-tuned"}
LEVELS = (
    "architecture", "dataset", "criterion", "sparsity", "budget", "allocation", "granularity",
    "finetuning", "objective", "policy", "epochs", "seed",
)  # fmt: skip
"""The columns of a trial that a card lists."""


def write(network: Classifier, description: Description, folder: Path) -> None:
    """Write weights, what builds them, and a model card into a folder."""
    files.write(network, description, folder / WEIGHTS)
    config = json.dumps(description.model_dump(mode="json"), indent=1)
    (folder / CONFIG).write_text(config + "\n", encoding="utf-8")
    (folder / CARD).write_text(card(description), encoding="utf-8")


def card(description: Description) -> str:
    """Return the model card: what it is, what was measured, what speaks against it."""
    row = description.row
    measured = _accuracies(row)
    takes = (
        f"Takes images in [0,1] of shape {list(description.shape)} (normalisation is inside) and "
        f"returns {description.classes} logits."
    )
    lines = [
        "---",
        "library_name: mrsweep",
        "pipeline_tag: image-classification",
        "tags: [adversarial-robustness, pruning]",
        "---",
        f"# {description.architecture}, {_kind(description)}",
        "",
        takes,
        "",
        "```python",
        "import mrsweep",
        "",
        'network = mrsweep.load_network("FOLDER")  # a torch.nn.Module, in eval mode',
        "```",
        "",
        *_plain_use(description),
        "",
        "## How it came about",
        "| | |",
        "| --- | --- |",
        *(f"| {name} | {row[name]} |" for name in LEVELS if name in row),
        f"| parameters | {row.get('params', '')} |",
        f"| trial | `{row.get('trial_id', '')}` |",
        f"| stage | {description.stage} `{description.key}` |",
        "",
        "Every setting of every stage is in `config.json` under `lineage`.",
        "",
        "## Accuracy on the test images",
        f"Threat: {row.get('norm', 'none')}, radius {row.get('eps', '')}.",
        "",
        f"| | {' | '.join(measured)} |",
        f"| --- |{' --- |' * len(measured)}",
        *(
            f"| {words} | {' | '.join(_share(measured[name].get(stage)) for name in measured)} |"
            for stage, words in STAGES.items()
        ),
        "",
        "## Caveats",
        *(f"- {caveat}" for caveat in _caveats(row, list(measured))),
    ]
    return "\n".join(lines) + "\n"


def _kind(description: Description) -> str:
    return {"dense": "not pruned", "prune": "pruned", "finetune": "pruned and fine-tuned"}[
        description.stage
    ]


def _plain_use(description: Description) -> list[str]:
    names = "`model.safetensors` has the tensors under the architecture's own names"
    if description.structure is None:
        return [f"{names}; they load strictly into it, unpruned, as zeros stand where it was."]
    return [f"{names}, in the shapes (or with the masks) that pruning left."]


def _accuracies(row: dict[str, Any]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for column, value in row.items():
        stage, _, metric = column.partition("_")
        if stage in STAGES and metric and isinstance(value, float):
            found.setdefault(metric.replace("_", "-"), {})[stage] = value
    return found


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


def _caveats(row: dict[str, Any], metrics: list[str]) -> list[str]:
    said = [f"One network, at seed {row.get('seed')}: another seed gives another."]
    if not any("autoattack" in metric for metric in metrics):
        said.append("Not attacked by AutoAttack: stronger attacks may find it less robust.")
    if flags := row.get("flags"):
        said.append(f"It failed checks against false robustness: {flags}.")
    if shortfall := row.get("shortfall"):
        said.append(f"It misses its budget: {shortfall}.")
    return said
