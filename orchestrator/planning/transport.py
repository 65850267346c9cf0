"""Jobs as JSON, for another process: every distinct stage once, by its key.

Stages hold their parents whole; written out in place, a network pruned in several rounds would be
repeated exponentially often.
"""

from __future__ import annotations

import json
from typing import Any

from orchestrator.planning.plan import Job
from prune_core.specs.settings import Threat
from prune_core.specs.stages import (
    Dense,
    Evaluation,
    Finetuned,
    Pruned,
    Rewound,
    Sanity,
    Scores,
    Sensitivity,
    Stage,
    Trial,
)

STAGES: dict[str, type[Stage]] = {
    stage.kind: stage
    for stage in (
        Dense,
        Scores,
        Sensitivity,
        Pruned,
        Rewound,
        Finetuned,
        Evaluation,
        Sanity,
        Trial,
    )
}


def encode_job(job: Job) -> str:
    """Return a job as JSON."""
    table: dict[str, dict[str, Any]] = {}  # parents before children
    for stage in (job.stage, *job.rewinds):
        _enter(stage, table)
    return json.dumps(
        {
            "stages": table,
            "stage": job.stage.key,
            "parents": job.parents,
            "attacks": job.attacks,
            "threat": job.threat and job.threat.model_dump(mode="json"),
            "labels": job.labels,
            "rewinds": [rewound.key for rewound in job.rewinds],
        }
    )


def _enter(stage: Stage, table: dict[str, dict[str, Any]]) -> None:
    if stage.key in table:
        return
    parents = stage.parents
    for parent in parents.values():
        _enter(parent, table)
    table[stage.key] = {
        "kind": stage.kind,
        "spec": stage.model_dump(mode="json", exclude=set(parents)),
        "parents": {field: parent.key for field, parent in parents.items()},
    }


def decode_job(text: str) -> Job:
    """Return the job that `encode_job` wrote."""
    data = json.loads(text)
    stages: dict[str, Stage] = {}
    for key, entry in data["stages"].items():
        parents = {field: stages[parent] for field, parent in entry["parents"].items()}
        stages[key] = STAGES[entry["kind"]].model_validate({**entry["spec"], **parents})
    rewinds = [stages[key] for key in data["rewinds"]]
    return Job(
        stage=stages[data["stage"]],
        parents=tuple(data["parents"]),
        attacks=tuple(data["attacks"]),
        threat=data["threat"] and Threat.model_validate(data["threat"]),
        labels=data["labels"],
        rewinds=tuple(r for r in rewinds if isinstance(r, Rewound)),
    )
