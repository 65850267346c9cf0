"""Checks before work starts: methods that load, images that are read, networks that are pruned."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.errors import RequestError
from orchestrator.planning.outsiders import outsiders
from orchestrator.planning.plan import Job, Plan
from orchestrator.sweepfile.model import Sweep
from prune_core.errors import CheckpointError, DatasetError, StrayReadError
from prune_core.specs.registry import ATTACKS
from prune_core.specs.settings import Dataset as DatasetSpec
from prune_core.specs.signatures import CALLS
from prune_core.specs.stages import Dense, Finetuned, Pruned, Trial

if TYPE_CHECKING:
    from prune_core.data.datasets import Dataset

Outline = tuple[tuple[int, int, int], int]
"""The shape of images, and the number of classes."""


def check_methods(plan: Plan, address: str | None, console: Console) -> dict[str, tuple[str, ...]]:
    """Check that methods load, images can be read and networks built and pruned.

    Images that are read here are decoded for the workers too. A cluster's lie on its nodes: what
    they are like is seen if they lie here as well, or if all copies of the data set are alike.

    Returns:
        What the classes 0, 1, ... are called, by data set; nothing of one whose images were not
        read, or say nothing of it.

    Raises:
        RequestError: It names all faults.
    """
    # It imports torch, which other commands do without.
    from prune_core.models.library import check_name

    sweep = plan.sweep
    faults = [fault for name in sweep.architectures if (fault := check_name(name))]
    faults += _load_faults(sweep)
    named: dict[str, tuple[str, ...]] = {}
    for name in sweep.datasets:
        of = _OneSet.of(plan, name)
        try:
            with console.status(f"reading {name}"):
                outline, data, wrong = _looked_at(of, address)
        except DatasetError as error:
            faults.append(str(error))
            continue
        faults += wrong
        if data is not None and data.names:
            named[name] = data.names
        if outline is not None:
            faults += _too_few_classes(of, outline[1])
            faults = faults or _network_faults(of, outline, console)
            faults = faults or _beginning_faults(of, outline, data, console)
        elif not faults:
            console.print(
                f"Note: {name} is not on this machine, so no network was tried on it.",
                highlight=False,
            )
    if faults:
        raise RequestError("\n".join(dict.fromkeys(faults)))
    return named


@dataclass(frozen=True)
class _OneSet:
    """What a plan does with one of its data sets."""

    name: str
    key: str
    """Where it stands in the sweep file."""
    spec: DatasetSpec
    trials: tuple[Job, ...]
    dense: tuple[Dense, ...]
    several_allocations: bool

    @classmethod
    def of(cls, plan: Plan, name: str) -> _OneSet:
        spec = plan.sweep.datasets[name]
        stages = (job.stage for job in plan.jobs.values())
        return cls(
            name,
            plan.sweep.images_key(name),
            spec,
            tuple(job for job in plan.trials.values() if (job.labels or {}).get("dataset") == name),
            tuple(one for one in stages if isinstance(one, Dense) and one.dataset == spec),
            len(plan.sweep.allocations) > 1,
        )

    @property
    def attacks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for job in self.trials for name in job.attacks))


def _looked_at(
    of: _OneSet, address: str | None
) -> tuple[Outline | None, Dataset | None, list[str]]:
    """Return what the images are like, the images where they are here, and what is wrong."""
    from prune_core.data import corrupted

    if address is not None:
        return _outline_elsewhere(of.spec), None, _corrupted_faults(of) + _unknown_images(of)
    data = _images(of)
    return (data.shape, data.classes), data, corrupted.faults(data, of.spec, of.attacks)


def _images(of: _OneSet) -> Dataset:
    import torch

    from prune_core.data import datasets

    root = of.spec.root
    if root is not None and not Path(root).is_dir():
        raise DatasetError(f"{of.key}.root {root!r} is not a folder; give the one with the images")
    try:
        return datasets.load(of.spec, torch.device("cpu"))
    except DatasetError as error:
        raise DatasetError(f"{of.key}: {error}") from error


def _outline_elsewhere(spec: DatasetSpec) -> Outline | None:
    """Return what the images on a cluster's nodes are like, as far as it is known here."""
    from prune_core.data.outline import outline

    try:
        return outline(spec)
    except (DatasetError, OSError):  # they need not be here
        return None


def _unknown_images(of: _OneSet) -> list[str]:
    root = of.spec.root
    if not of.spec.has_content or of.spec.content or Path(str(root)).is_dir():
        return []
    away = f"{of.key}.root {root!r} is not on this machine, and what its images are is in all keys"
    return [f"{away}: write the dataset's content, which `mrsweep data` tells where they lie"]


def _corrupted_faults(of: _OneSet) -> list[str]:
    files = filter(None, map(of.spec.corrupted_file, of.attacks))
    return [
        f"no {file} on this machine, and its bytes are in the keys of evaluations; set "
        f"{of.key}.corrupted to a folder that this machine and the nodes share"
        for file in files
        if not file.is_file()
    ]


def _load_faults(sweep: Sweep) -> list[str]:
    """Import the user's own methods: what fails now would fail after the training."""
    faults: list[str] = []
    for owner, own in outsiders(sweep):
        try:
            loaded = owner.load(own)
        except StrayReadError as error:
            faults.append(str(error))
            continue
        except Exception as error:  # it is the user's code
            faults.append(
                f"{owner.noun} {own!r} cannot be imported: {type(error).__name__}: {error}"
            )
            continue
        if not callable(loaded):
            faults.append(f"{owner.noun} {own!r} is nothing that can be called")
            continue
        call = CALLS[owner.axis]
        try:
            inspect.signature(loaded, follow_wrapped=False).bind(*call)
        except TypeError as error:
            faults.append(f"{owner.noun} {own!r} is called with ({', '.join(call)}): {error}")
        except ValueError:
            continue  # written in C, without a signature that Python knows
    return faults


def _network_faults(of: _OneSet, outline: Outline, console: Console) -> list[str]:
    """Build every network and cut it: what cannot work is said before anything is trained.

    Budgets that are reached in one way alone are shown, where the sweep has several allocations.
    """
    from prune_core.pruning.rehearsal import rehearse

    wanted: dict[str, list[Pruned]] = {}
    batches: dict[str, int] = {}
    for job in of.trials:
        if isinstance(job.stage, Trial):
            wanted.setdefault(job.architecture, []).append(job.stage.pruned)
            least = min(batches.get(job.architecture, 2), *_batches(job.stage))
            batches[job.architecture] = least
    faults: list[str] = []
    for architecture, prunings in wanted.items():
        with console.status(f"checking {architecture}"):
            least = batches[architecture]
            rehearsal = rehearse(architecture, *outline, prunings, least, of.attacks)
        faults += rehearsal.faults
        if of.several_allocations:
            for note in rehearsal.notes:
                console.print(f"Note: {note}.", markup=False, highlight=False)
    return faults


def _batches(trial: Trial) -> Iterator[int]:
    """Yield how many images the trainings of a trial take at once."""
    yield 2
    for stage in (trial.dense, trial.network):
        if isinstance(stage, Dense | Finetuned) and stage.training.epochs:
            yield stage.training.batch_size


def _beginning_faults(
    of: _OneSet, outline: Outline, data: Dataset | None, console: Console
) -> list[str]:
    """Load every checkpoint, and look how accurate it is where the images are here."""
    from orchestrator.worker.beginning import first, fits

    faults: list[str] = []
    for dense in of.dense:
        if dense.checkpoint or dense.normalise:
            named = f"dense network of {dense.architecture} at seed {dense.seed}"
            try:
                with console.status(f"checking the {named}"):
                    fits(dense, *outline) if data is None else first(dense, data)
            except CheckpointError as error:
                faults.append(f"{named}: {error}")
    return faults


def _too_few_classes(of: _OneSet, classes: int) -> list[str]:
    return [
        f"attack {name!r} needs at least {least} classes; {of.name} has {classes}"
        for name in of.attacks
        for need in ATTACKS[name].needs
        if need.startswith("classes:") and classes < (least := int(need.partition(":")[2]))
    ]
