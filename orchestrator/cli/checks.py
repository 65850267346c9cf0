"""Checks before work starts: methods that load, images that are read, networks that are pruned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.errors import RequestError
from orchestrator.planning.outsiders import outsiders
from orchestrator.planning.plan import Plan
from orchestrator.sweepfile.model import Sweep
from prune_core.errors import CheckpointError, DatasetError
from prune_core.specs.registry import ATTACKS
from prune_core.specs.stages import Dense, Pruned, Trial

if TYPE_CHECKING:
    from prune_core.data.datasets import Dataset

Outline = tuple[tuple[int, int, int], int]
"""The shape of images, and the number of classes."""


def check_methods(plan: Plan, address: str | None, console: Console) -> tuple[str, ...]:
    """Check that methods load, images can be read and networks built and pruned.

    Images that are read here are decoded for the workers too. A cluster's lie on its nodes: what
    they are like is seen if they lie here as well, or if all copies of the data set are alike.

    Returns:
        What the classes 0, 1, ... are called; empty where images were not read, or nothing says so.

    Raises:
        RequestError: It names all faults.
    """
    # These import torch, which other commands do without.
    from prune_core.data import corrupted
    from prune_core.models.library import check_name

    sweep = plan.sweep
    faults = [fault for name in sweep.architectures if (fault := check_name(name))]
    faults += _load_faults(sweep)
    outline: Outline | None = None
    data: Dataset | None = None
    names: tuple[str, ...] = ()
    try:
        with console.status(f"reading {sweep.dataset.name}"):
            if address is None:
                data = _images(sweep)
                outline, names = (data.shape, data.classes), data.names
                faults += corrupted.faults(data, sweep.dataset, sweep.evaluation.attacks)
            else:
                outline = _outline_elsewhere(sweep)
                faults += _corrupted_faults(sweep) + _unknown_images(sweep)
    except DatasetError as error:
        faults.append(str(error))
    if outline is not None:
        faults += _too_few_classes(sweep, outline[1])
        faults = faults or _network_faults(plan, outline, console)
        faults = faults or _beginning_faults(plan, outline, data, console)
    elif address is not None and not faults:
        console.print(
            f"Note: {sweep.dataset.name} is not on this machine, so no network was tried on it.",
            highlight=False,
        )
    if faults:
        raise RequestError("\n".join(faults))
    return names


def _images(sweep: Sweep) -> Dataset:
    import torch

    from prune_core.data import datasets

    folder = sweep.dataset.root
    if folder is not None and not Path(folder).is_dir():
        raise DatasetError(f"dataset.root {folder!r} is not a folder; give the one with the images")
    try:
        return datasets.load(sweep.dataset, torch.device("cpu"))
    except DatasetError as error:
        raise DatasetError(f"dataset: {error}") from error


def _outline_elsewhere(sweep: Sweep) -> Outline | None:
    """Return what the images on a cluster's nodes are like, as far as it is known here."""
    from prune_core.data.outline import outline

    try:
        return outline(sweep.dataset)
    except (DatasetError, OSError):  # they need not be here
        return None


def _unknown_images(sweep: Sweep) -> list[str]:
    folder = sweep.dataset.root
    if not sweep.dataset.has_content or sweep.dataset.content or Path(str(folder)).is_dir():
        return []
    away = f"dataset.root {folder!r} is not on this machine, and what its images are is in all keys"
    return [f"{away}: write the dataset's content, which `mrsweep data` tells where they lie"]


def _corrupted_faults(sweep: Sweep) -> list[str]:
    files = filter(None, map(sweep.dataset.corrupted_file, sweep.evaluation.attacks))
    return [
        f"no {file} on this machine, and its bytes are in the keys of evaluations; set "
        "dataset.corrupted to a folder that this machine and the nodes share"
        for file in files
        if not file.is_file()
    ]


def _load_faults(sweep: Sweep) -> list[str]:
    """Import the user's own methods: what fails now would fail after the training."""
    faults: list[str] = []
    for owner, own in outsiders(sweep):
        try:
            usable = callable(owner.load(own))
        except Exception as error:  # it is the user's code
            faults.append(
                f"{owner.noun} {own!r} cannot be imported: {type(error).__name__}: {error}"
            )
            continue
        if not usable:
            faults.append(f"{owner.noun} {own!r} is nothing that can be called")
    return faults


def _network_faults(plan: Plan, outline: Outline, console: Console) -> list[str]:
    """Build every network and cut it: what cannot work is said before anything is trained.

    Budgets that are reached in one way alone are shown, where the sweep has several allocations.
    """
    from prune_core.pruning.rehearsal import rehearse

    wanted: dict[str, list[Pruned]] = {}
    for job in plan.trials.values():
        if isinstance(job.stage, Trial):
            wanted.setdefault(job.architecture, []).append(job.stage.pruned)
    faults: list[str] = []
    for architecture, prunings in wanted.items():
        with console.status(f"checking {architecture}"):
            rehearsal = rehearse(architecture, *outline, prunings)
        faults += rehearsal.faults
        if len(plan.sweep.allocations) > 1:
            for note in rehearsal.notes:
                console.print(f"Note: {note}.", markup=False, highlight=False)
    return faults


def _beginning_faults(
    plan: Plan, outline: Outline, data: Dataset | None, console: Console
) -> list[str]:
    """Load every checkpoint, and look how accurate it is where the images are here."""
    from orchestrator.worker.beginning import first, fits

    faults: list[str] = []
    for job in plan.jobs.values():
        dense = job.stage
        if isinstance(dense, Dense) and (dense.checkpoint or dense.normalise):
            named = f"dense network of {dense.architecture} at seed {dense.seed}"
            try:
                with console.status(f"checking the {named}"):
                    fits(dense, *outline) if data is None else first(dense, data)
            except CheckpointError as error:
                faults.append(f"{named}: {error}")
    return faults


def _too_few_classes(sweep: Sweep, classes: int) -> list[str]:
    return [
        f"attack {name!r} needs at least {least} classes; {sweep.dataset.name} has {classes}"
        for name in sweep.evaluation.attacks
        for need in ATTACKS[name].needs
        if need.startswith("classes:") and classes < (least := int(need.partition(":")[2]))
    ]
