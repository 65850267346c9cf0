"""Cautions: what a plan does as it is asked to, and may not be meant."""

from __future__ import annotations

from orchestrator.planning.plan import Plan
from prune_core.specs.registry import CRITERIA


def cautions(plan: Plan) -> list[str]:
    """Return a sentence on every kind of cell whose result may mislead."""
    ranked = {
        str(labels["criterion"])
        for job in plan.trials.values()
        if (labels := job.labels) and labels["allocation"] == "global"
    }
    apart = sorted(name for name in ranked if "comparable" not in CRITERIA[name].traits)
    if not apart:
        return []
    caution = (
        "allocation global ranks the units of all modules together, and scores of "
        f"{', '.join(apart)} have another scale in every module, so that whole modules may go; "
        "global-normalised divides them by their module's mean"
    )
    return [caution]
