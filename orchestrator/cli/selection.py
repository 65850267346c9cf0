"""``--select``: the trials that factor levels name."""

from __future__ import annotations

from orchestrator.errors import RequestError
from orchestrator.planning.plan import Job, Plan
from orchestrator.sweepfile.rules import FACTOR_FIELDS


def matching(select: str, plan: Plan) -> list[Job]:
    """Return the trials with the levels that ``criterion=l1,seed=0`` gives; one at least."""
    wanted = _selection(select, plan)
    jobs = [
        job
        for job in plan.trials.values()
        if all(str((job.labels or {})[name]) == level for name, level in wanted.items())
    ]
    if not jobs:
        raise RequestError(f"no trial of {plan.sweep.name} matches {select!r}")
    return jobs


def _selection(select: str, plan: Plan) -> dict[str, str]:
    factors = {**plan.sweep.factors(), "seed": plan.seeds}
    selection: dict[str, str] = {}
    for part in filter(None, select.split(",")):
        name, _, level = part.partition("=")
        if name not in factors:
            known = ", ".join([*FACTOR_FIELDS, "seed"])
            raise RequestError(f"--select: no factor {name!r}; there are: {known}")
        levels = [str(known) for known in factors[name]]
        if level not in levels:
            raise RequestError(
                f"--select: {name} has no level {level!r}; it has: {', '.join(levels)}"
            )
        selection[name] = level
    return selection
