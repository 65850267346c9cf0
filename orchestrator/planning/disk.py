"""Disk: how much the networks that a plan keeps will take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import pandas as pd

from orchestrator.planning.plan import Job, Plan
from prune_core.specs.stage import Stage
from prune_core.specs.stages import Finetuned, Trial

Sizes = Mapping[str, Mapping[str, int]]
"""By kind of artifact: the bytes of its files, by ``key/name``."""


def disk(plan: Plan, sizes: Sizes, jobs: pd.DataFrame) -> tuple[float, set[str]]:
    """Estimate the bytes that a plan keeps, from artifacts of the same kind and architecture.

    Args:
        plan: The plan.
        sizes: What there is in storage.
        jobs: The table, which says whose these are.

    Returns:
        The bytes, and what is in none of them, in words.
    """
    of_key = dict(zip(jobs["key"], jobs["architecture"], strict=True))
    kept = {}
    for job in plan.jobs.values():
        stage = _kept(job)
        of_key[stage.key] = job.architecture
        if stage.kind in plan.sweep.keep:
            kept[stage.key] = (stage.kind, job.architecture)
    known: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for kind, files in sizes.items():
        for name, size in files.items():
            key = name.split("/")[0]
            if key in of_key:
                by_key = known[kind, of_key[key]]
                by_key[key] = by_key.get(key, 0) + size
    expected, unknown = 0.0, set()
    for like in kept.values():
        if like in known:
            expected += sum(known[like].values()) / len(known[like])
        else:
            unknown.add(" of ".join(like))
    return expected, unknown


def _kept(job: Job) -> Stage:
    """Return the stage whose artifact a job leaves."""
    stage = job.stage
    trained = isinstance(stage, Trial) and isinstance(stage.network, Finetuned)
    return stage.network if trained and isinstance(stage, Trial) else stage
