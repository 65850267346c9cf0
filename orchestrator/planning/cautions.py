"""Cautions: what a plan does as it is asked to, and may not be meant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from orchestrator.planning.plan import Plan
from prune_core.specs.registry import ALLOCATIONS, CRITERIA

Allocations = Mapping[str, set[str]]
"""The allocations that a plan has under each criterion."""


def cautions(plan: Plan) -> list[str]:
    """Return a sentence on every kind of cell whose result may mislead."""
    allocations: defaultdict[str, set[str]] = defaultdict(set)
    for job in plan.trials.values():
        if labels := job.labels:
            allocations[str(labels["criterion"])].add(str(labels["allocation"]))
    return [*_unknown_images(plan), *_scales(allocations), *_twins(allocations)]


def _unknown_images(plan: Plan) -> Iterator[str]:
    for data in plan.sweep.datasets.values():
        if data.has_content and data.content is None:
            yield (
                f"{data.root} is not on this machine, so what its images are is not known, and "
                "neither is what of the sweep is done: `mrsweep data`, where they lie, tells what "
                "to write here"
            )


def _scales(allocations: Allocations) -> Iterator[str]:
    apart = sorted(
        criterion
        for criterion, under in allocations.items()
        if "global" in under and "comparable" not in CRITERIA[criterion].traits
    )
    if apart:
        yield (
            "allocation global ranks the units of all modules together, and scores of "
            f"{', '.join(apart)} have another scale in every module, so that whole modules may go; "
            "global-normalised divides them by their module's mean"
        )


def _twins(allocations: Allocations) -> Iterator[str]:
    """Say which cells are one network: an allocation ranks by the scores that global has anyway."""
    for criterion, under in allocations.items():
        for name in sorted(under):
            if "global" in under and f"scores:{criterion}" in ALLOCATIONS[name].needs:
                yield (
                    f"with criterion {criterion} allocations global and {name} give one network; "
                    f"to leave one out, exclude: [{{criterion: {criterion}, allocation: {name}}}]"
                )
