"""What every command asks first: a sweep file and a storage root."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from orchestrator.driver.replication import planned_seeds
from orchestrator.errors import RequestError
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.state.content import with_content
from orchestrator.sweepfile.model import Sweep, SweepFileError, read_sweep
from results.errors import StorageError
from results.tables.storage import Storage


def open_sweep(file: Path, storage: str, changes: Sequence[str] = ()) -> tuple[Plan, Storage]:
    """Check a sweep file and a storage root.

    Args:
        file: The sweep file.
        storage: Folder or URI of the storage root; it need not exist yet.
        changes: Settings of the file to change, each a ``section.key=value``.

    Returns:
        The plan of the sweep, as far as seeds are planned by now, and the storage root.

    Raises:
        SweepFileError: It holds the faults of both.
    """
    faults: list[str] = []
    try:
        sweep = read_sweep(file, changes)
    except SweepFileError as error:
        faults += error.faults
    try:
        root = Storage(storage)
        root.check()
    except StorageError as error:
        faults.append(str(error))
    if faults:
        raise SweepFileError(faults)
    sweep = told_content(sweep, root)
    return make_plan(sweep, planned_seeds(sweep, root)), root


def told_content(sweep: Sweep, root: Storage) -> Sweep:
    """Return a sweep that says what its images are, and show how far they are read."""
    if not any(data.has_content for data in sweep.datasets.values()):
        return sweep
    with Console(stderr=True, emoji=False).status("looking at the images") as shown:

        def tell(name: str, done: int, total: int) -> None:
            if not done % 100:
                shown.update(f"reading {name}: {done:,} of {total:,} files")

        return with_content(sweep, root, tell)


def tell_content(file: Path, console: Console) -> None:
    """Print what a sweep's images are, as its file may say it.

    Raises:
        RequestError: They are not here.
    """
    sweep = read_sweep(file)
    away = [
        f"{sweep.images_key(name)}.root {data.root!r} is not a folder on this machine"
        for name, data in sweep.datasets.items()
        if data.has_content and not Path(str(data.root)).is_dir()
    ]
    if away:
        raise RequestError("\n".join(away))
    for name, data in told_content(sweep, Storage(".")).datasets.items():
        of = "" if sweep.dataset else f"{name}: "
        if data.has_content:
            console.print(f"{of}content: '{data.content}'", highlight=False)
        else:
            console.print(f"{name} is known by its name; its content need not be given")
