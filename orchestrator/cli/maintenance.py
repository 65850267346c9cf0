"""``mrsweep compact`` and ``mrsweep check``, and what is put in order after a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from results.tables.storage import Storage

MANY_FILES = 2000
"""A table of more files is compacted after a run: reading them takes some milliseconds each."""


def tidy(root: Storage, console: Console) -> None:
    """Join small files where there are many, so that the next start reads few.

    Not beside another driver: it sees by a trial's own file that this one has done it meanwhile.
    """
    from orchestrator.state.leases import running
    from results.tables.schema import TABLES
    from results.tables.store import Tables

    if running(root):
        return
    with console.status("joining small files of tables"):
        for table in TABLES:
            Tables(root).compact(table, MANY_FILES)


def compact(storage: str, console: Console) -> None:
    """Compact every table."""
    from results.tables.schema import TABLES
    from results.tables.storage import Storage
    from results.tables.store import Tables

    root = Storage(storage)
    root.check()
    for table in TABLES:
        joined = Tables(root).compact(table)
        console.print(f"{table}: {joined} files joined" if joined else f"{table}: nothing to do")


def check(storage: str, artifacts: bool, console: Console) -> bool:
    """Read a storage root whole and print what is wrong; return whether nothing is.

    Raises:
        StorageError: It cannot be read, or holds no tables.
    """
    from orchestrator.state.maintenance import artifact_faults, table_faults
    from results.errors import StorageError
    from results.tables.storage import Storage

    root = Storage(storage)
    root.check()
    if not root.exists("tables"):
        raise StorageError(f"no tables in {storage!r}: run a sweep with --storage {storage} first")
    wrong = 0
    for table, faults in table_faults(root):
        console.print(f"{table}: {len(faults) or 'no'} faults", highlight=False)
        _show(faults, "  ", console)
        wrong += len(faults)
    if artifacts:
        files = 0
        with console.status("reading artifacts"):
            for path, faults in artifact_faults(root):
                files += 1
                _show(faults, f"  {path}: ", console)
                wrong += len(faults)
        console.print(f"artifacts: {files} files read", highlight=False)
    if wrong:
        console.print("The next run computes again what is damaged.", highlight=False)
    return wrong == 0


def _show(faults: list[str], before: str, console: Console) -> None:
    for fault in faults:
        console.print(f"{before}{fault}", highlight=False, markup=False)
