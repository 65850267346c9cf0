"""``mrsweep compact`` and ``mrsweep check``."""

from __future__ import annotations

from rich.console import Console

from results.statistics.design.words import several


def compact(storage: str, console: Console) -> None:
    """Bring the rows of every table into few files, those of an older mrsweep too.

    Raises:
        StorageError: The storage root cannot be read.
        StorageIOError: It failed; nothing is lost.
    """
    from orchestrator.state.upkeep import fold_all
    from results.tables.storage import Storage

    root = Storage(storage)
    root.check()
    for table, rows in fold_all(root).items():
        files = len([name for name in root.names("tables", table) if name.endswith(".parquet")])
        console.print(
            f"{table}: {several(rows, 'row')} moved, {several(files, 'file')}", highlight=False
        )


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
        console.print(
            f"{table}: {several(len(faults), 'fault') if faults else 'no faults'}", highlight=False
        )
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
