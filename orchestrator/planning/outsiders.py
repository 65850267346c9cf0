"""Methods of the user's own in a sweep: where it names them, and what their code is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from orchestrator.sweepfile.model import Sweep
from prune_core.specs.registry import AXES, Axis


def named(sweep: Sweep) -> Mapping[str, Iterable[str]]:
    """Return the names of methods in a sweep, by axis."""
    trainings = [*sweep.dense.values(), *sweep.finetuning.values()]
    changed = [change for override in sweep.overrides for change in override.set.items()]

    def overridden(setting: str) -> list[str]:
        return [str(value) for key, value in changed if key.rpartition(".")[2] == setting]

    return {
        "architectures": sweep.architectures,
        "criteria": sweep.criteria,
        "allocations": sweep.allocations,
        "granularities": sweep.granularities,
        "attacks": sweep.attacks,
        "datasets": [data.name for data in sweep.datasets.values()],
        "objectives": [t.objective for t in trainings] + overridden("objective"),
        "schedules": [t.schedule for t in trainings] + overridden("schedule"),
        "policies": [t.policy for t in sweep.finetuning.values()] + overridden("policy"),
    }


def outsiders(sweep: Sweep) -> Iterator[tuple[Axis, str]]:
    """Go through the methods of the user's own that a sweep names, each once."""
    for axis, names in named(sweep).items():
        for name in dict.fromkeys(names):
            yield from AXES[axis].outside(name)


def digests_of(sweep: Sweep) -> dict[str, str | None]:
    """Return the digest of the code of each method of the user's own, by ``axis name``."""
    return {f"{axis.axis} {own}": axis[own].digest for axis, own in outsiders(sweep)}
