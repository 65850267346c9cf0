"""A sweep with every default written out, as a sweep file that says the same."""

from __future__ import annotations

from typing import Any

import yaml

from orchestrator.sweepfile.model import Sweep
from prune_core.specs.recipes import RATE, FinetuningLevel, Training, rewinds_rate


def resolved_text(sweep: Sweep) -> str:
    """Return a sweep as YAML: every default written out, those of methods and short forms too."""
    data = sweep.model_dump(mode="json", exclude_none=True)
    data.pop("datasets" if sweep.dataset else "dataset", None)
    for name, level in sweep.finetuning.items():
        data["finetuning"][name] = _finetuning(level)
    for name, dense in sweep.dense.items():
        own = dense.model_dump(mode="json", exclude_none=True, exclude=set(Training.model_fields))
        data["dense"][name] = own | _plain(dense.training)
    for name, training in sweep.pruning.score_trainings.items():
        data["pruning"][name] = _plain(training)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=None)


def _finetuning(level: FinetuningLevel) -> dict[str, Any]:
    if level.epochs == 0:
        return {"epochs": 0, "policy": level.policy}
    own = level.model_dump(mode="json", exclude_none=True, exclude=set(Training.model_fields))
    if level.growth is not None:
        own |= level.growth.model_dump()
    training = Training(**level.model_dump(include=set(Training.model_fields))).resolved()
    # Such a policy takes the rate from the dense network's training, and refuses one here.
    taken = RATE if rewinds_rate(level.policy) else ()
    return {k: v for k, v in (own | _plain(training)).items() if k not in taken}


def _plain(training: Training) -> dict[str, Any]:
    return training.model_dump(mode="json", exclude_none=True)
