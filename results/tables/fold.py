"""Folding: rows that lie in the log go into the tables' files, few and large, each seen once.

One process folds at a time; who may is settled by a lease of the caller's. A fold that broke off is
repeated whole: rows whose keys are in a file already are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from results.tables import log
from results.tables.files import Files
from results.tables.log import Entries, Rows
from results.tables.schema import TABLES
from results.tables.shelf import Known, Shelf
from results.tables.storage import Storage


class Folder:
    """Folds the log of one storage root; remembers the keys of files that do not change."""

    def __init__(self, storage: Storage, may: Callable[[], bool] = lambda: True):
        """Begin; ``may`` says, right before files change, whether this one is still who folds."""
        self._storage, self._may = storage, may
        self._entries = Entries(storage)
        self._known: dict[str, dict[str, Known]] = {table: {} for table in TABLES}
        self._began = False

    def take_in(self, names: Sequence[str]) -> Mapping[str, Rows]:
        """Read names of the log now that are read anyway when they are folded; return their rows.

        Args:
            names: as `results.tables.store.Tables.committed` has them.

        Returns:
            The rows of each name that is there, by table.
        """
        return self._entries.of(names)

    def fold(self) -> dict[str, int]:
        """Fold what the log holds, and files of an older mrsweep; return the rows moved, by table.

        Raises:
            StorageIOError: It failed; nothing is lost, and the next one goes on.
            LostRightError: Another process folds now.
        """
        entries = self._entries.read()
        moved = {}
        for table in TABLES:
            rows = [row for logged in entries.values() for row in logged.get(table, ())]
            if self._began and not rows:
                moved[table] = 0  # what there was of an older mrsweep was seen at the first fold
                continue
            shelf = Shelf(Files(self._storage, table), self._known[table], self._may)
            moved[table] = shelf.put(log.arrow(table, rows) if rows else None)
        self._began = True
        self._storage.remove_files([(log.FOLDER, name) for name in entries])
        for name in self._entries.damaged:
            self._storage.move((log.FOLDER, name), ("damaged", log.FOLDER, name))
        self._entries.damaged.clear()
        return moved
