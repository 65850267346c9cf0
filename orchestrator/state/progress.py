"""How far a job is by now: what an attempt leaves that the next one goes on from."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.planning.plan import Job
from orchestrator.state.artifacts import CHECKPOINT, Artifacts
from prune_core.specs.stage import Stage
from prune_core.specs.stages import Dense, Finetuned, Scores, Trial
from results.tables.store import Tables


def trainings(stage: Stage) -> Sequence[Dense | Finetuned | Scores]:
    """Return the trainings of a stage's own job, the last first."""
    if isinstance(stage, Trial):
        return stage.trainings
    return [stage] if isinstance(stage, Dense | Scores) else []


def behind(stage: Stage, artifacts: Artifacts) -> tuple[bool, int]:
    """Return whether any of the stage's trainings has a checkpoint, and the epochs in the last."""
    number, epochs = _begun(stage, artifacts)
    return number >= 0, epochs


def progress(job: Job, artifacts: Artifacts, tables: Tables) -> tuple[int, ...]:
    """Return numbers that differ from earlier ones where the job has got further since."""
    there = not isinstance(job.stage, Trial) and artifacts.has(job.kind, job.key)
    measured = sum(tables.find("evaluations", each.key) is not None for each in job.evaluations)
    return (*_begun(job.stage, artifacts), int(there), measured)


def _begun(stage: Stage, artifacts: Artifacts) -> tuple[int, int]:
    """Return which training began last, counted from the end, and its epochs so far."""
    for number, training in enumerate(trainings(stage)):
        facts = artifacts.facts(training.kind, training.key, CHECKPOINT)
        if facts is not None:
            return number, len(facts["history"])
    return -1, 0
