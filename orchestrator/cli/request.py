"""What every command asks first: a sweep file, a storage root, methods that can be had."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.driver.replication import planned_seeds
from orchestrator.errors import RequestError
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.sweepfile.model import Sweep, SweepFileError, read_sweep
from prune_core.errors import DatasetError
from prune_core.specs.registry import ATTACKS
from prune_core.specs.stages import Pruned, Trial
from results.errors import StorageError
from results.tables.storage import Storage

if TYPE_CHECKING:
    from prune_core.data.datasets import Dataset


def open_sweep(file: Path, storage: str) -> tuple[Plan, Storage]:
    """Check a sweep file and a storage root.

    Args:
        file: The sweep file.
        storage: Folder or URI of the storage root; it need not exist yet.

    Returns:
        The plan of the sweep, as far as seeds are planned by now, and the storage root.

    Raises:
        SweepFileError: It holds the faults of both.
    """
    faults: list[str] = []
    try:
        sweep = read_sweep(file)
    except SweepFileError as error:
        faults += error.faults
    try:
        root = Storage(storage)
        root.check()
    except StorageError as error:
        faults.append(str(error))
    if faults:
        raise SweepFileError(faults)
    return make_plan(sweep, planned_seeds(sweep, root)), root


def check_methods(plan: Plan, address: str | None, console: Console) -> None:
    """Check that images can be read and networks built, before work starts.

    On a cluster the images lie on its nodes, so only networks' names are checked. Images that are
    read here are decoded for the workers too.

    Raises:
        RequestError: It names all faults.
    """
    sweep = plan.sweep
    # These import torch, which other commands do without.
    import torch

    from prune_core.data import corrupted, datasets
    from prune_core.models.library import check_name

    faults = [fault for name in sweep.architectures if (fault := check_name(name))]
    files = filter(None, map(sweep.dataset.corrupted_file, sweep.evaluation.attacks))
    if address is not None:
        faults += [
            f"no {file} on this machine, and its bytes are in the keys of evaluations; set "
            "dataset.corrupted to a folder that this machine and the nodes share"
            for file in files
            if not file.is_file()
        ]
    folder = sweep.dataset.root
    if folder is not None and address is None and not Path(folder).is_dir():
        faults.append(f"dataset.root {folder!r} is not a folder; give the one with the images")
    elif address is None:
        try:
            with console.status(f"reading {sweep.dataset.name}"):
                data = datasets.load(sweep.dataset, torch.device("cpu"))
            faults += _too_few_classes(sweep, data.classes)
            faults += corrupted.faults(data, sweep.dataset, sweep.evaluation.attacks)
            if not faults:
                faults += _network_faults(plan, data, console)
        except DatasetError as error:
            faults.append(f"dataset: {error}")
    if faults:
        raise RequestError("\n".join(faults))


def _network_faults(plan: Plan, data: Dataset, console: Console) -> list[str]:
    """Build every network and cut it once: what cannot work is said before anything is trained.

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
            rehearsal = rehearse(architecture, data.shape, data.classes, prunings)
        faults += rehearsal.faults
        if len(plan.sweep.allocations) > 1:
            for note in rehearsal.notes:
                console.print(f"Note: {note}.", markup=False, highlight=False)
    return faults


def _too_few_classes(sweep: Sweep, classes: int) -> list[str]:
    return [
        f"attack {name!r} needs at least {least} classes; {sweep.dataset.name} has {classes}"
        for name in sweep.evaluation.attacks
        for need in ATTACKS[name].needs
        if need.startswith("classes:") and classes < (least := int(need.partition(":")[2]))
    ]
