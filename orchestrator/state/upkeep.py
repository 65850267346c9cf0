"""Upkeep: the rows of all workers go from the log into few files, also while sweeps run.

Any driver does it for all. One at a time: the right to is a lease.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from orchestrator.state.leases import Leases
from results.tables.fold import Folder
from results.tables.log import FOLDER, Rows
from results.tables.shelf import LostRightError
from results.tables.storage import Storage

log = logging.getLogger(__name__)

LEASE = "tables"
EVERY = 15.0
"""Seconds between two folds, if there is anything to fold."""
MANY = 250
"""Commits of this driver's jobs after which it does not wait so long."""
SHARE = 0.05
"""Of a driver's time that folding takes at most."""
PATIENCE = 60.0
"""Seconds to wait at the end while another process folds."""


class Upkeep:
    """Folds for one driver, that has leases."""

    def __init__(self, storage: Storage, leases: Leases):
        self._storage, self._leases = storage, leases
        self._folder = Folder(storage, may=lambda: leases.holds(LEASE))
        self._waiting = 0
        self._next = 0.0
        self._took = 0.0

    def take_in(self, names: Sequence[str]) -> Mapping[str, Rows]:
        """Note that a job has committed rows; return them, by their names in the log."""
        self._waiting += len(names)
        return self._folder.take_in(names)

    def when_due(self, more: int = 0) -> None:
        """Fold if many rows wait, or have waited for long; so many ``more`` may have come."""
        self._waiting += more
        now = time.monotonic()
        due = now > self._next or self._waiting >= MANY
        if self._waiting and due and now > self._next - EVERY + self._took / SHARE:
            self.fold()

    def fold(self) -> dict[str, int] | None:
        """Fold what there is; return the rows moved by table, or None while another one folds.

        Raises:
            StorageIOError: It failed; nothing is lost.
        """
        began = time.monotonic()
        self._next = began + EVERY
        if not self._leases.take(LEASE):
            return None
        try:
            moved = self._folder.fold()
        except LostRightError as lost:
            log.warning("%s", lost)
            return None
        finally:
            self._leases.release(LEASE)
        self._took = time.monotonic() - began
        self._waiting = 0
        return moved

    def finish(self) -> dict[str, int] | None:
        """Fold what there is, after whoever folds now; None where that takes too long."""
        limit = time.monotonic() + PATIENCE
        while (moved := self.fold()) is None and time.monotonic() < limit:
            time.sleep(0.1)
        return moved


def tidy(storage: Storage) -> None:
    """Fold what an earlier driver left, if it left anything."""
    if storage.names(FOLDER):
        fold_all(storage)


def fold_all(storage: Storage) -> dict[str, int]:
    """Fold what there is, as a driver of its own; return the rows moved by table."""
    with Leases(storage, works=False) as leases:
        leases.expire()
        return Upkeep(storage, leases).finish() or {}
