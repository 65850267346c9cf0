"""What every command asks first: a sweep file and a storage root."""

from __future__ import annotations

from pathlib import Path

from orchestrator.driver.replication import planned_seeds
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.sweepfile.model import SweepFileError, read_sweep
from results.errors import StorageError
from results.tables.storage import Storage


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
