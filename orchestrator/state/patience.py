"""Patience: storage that is out of reach for a while is waited for, by driver and jobs alike.

A shared folder that is not mounted looks empty. Nothing is written into such a root, and nothing is
taken for missing there: the folder ``sweeps``, written before any job begins, must be in it.
"""

from __future__ import annotations

import errno
import logging
import os
import random
import threading
import time
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from results.errors import StorageIOError
from results.tables.storage import Storage

log = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")
REFUSED = frozenset({errno.EACCES, errno.EPERM})
"""What no waiting mends."""
FIRST, LONGEST = 0.2, 20.0
"""Seconds of the first pause and of the longest. Each is twice the one before, give or take half:
a thousand jobs do not all come back at the same moment."""


def _patiently(
    method: Callable[Concatenate[Storage, P], R],
) -> Callable[Concatenate[Patient, P], R]:
    def waiting(self: Patient, /, *args: P.args, **how: P.kwargs) -> R:
        return self.waited(lambda: method(self, *args, **how))

    return waiting


class Patient(Storage):
    """A storage root that is asked again, for ``patience`` seconds, before it has failed."""

    def __init__(self, root: str, patience: float):
        super().__init__(root)
        self.patience = patience
        self._within = threading.local()

    exists = _patiently(Storage.exists)
    read = _patiently(Storage.read)
    write = _patiently(Storage.write)
    write_all = _patiently(Storage.write_all)
    create = _patiently(Storage.create)
    names = _patiently(Storage.names)
    stamps = _patiently(Storage.stamps)
    sizes = _patiently(Storage.sizes)
    move = _patiently(Storage.move)
    remove = _patiently(Storage.remove)
    remove_files = _patiently(Storage.remove_files)

    def waited(self, act: Callable[[], R]) -> R:
        """Act, and again after a pause where storage fails."""
        if getattr(self._within, "waits", False):
            return act()  # a part of what is waited for as a whole
        self._within.waits = True
        try:
            return self._waited(act)
        finally:
            self._within.waits = False

    def _waited(self, act: Callable[[], R]) -> R:
        began, pause = time.monotonic(), FIRST
        while True:
            try:
                self._must_be_there()
                found = act()
                if not found:
                    self._must_be_there()
                return found
            except StorageIOError as fault:
                waited = time.monotonic() - began
                if fault.errno in REFUSED or waited + pause > self.patience:
                    raise
                if pause == FIRST:
                    log.warning("storage fails (%s): waiting, up to %g s", fault, self.patience)
                time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
                pause = min(2 * pause, LONGEST)

    def _must_be_there(self) -> None:
        if self.local and not os.path.isdir(self.path("sweeps")):  # noqa: PTH112 - a stat, often
            raise StorageIOError(errno.ENOENT, f"{self.root}: the storage root is gone")


def storage_at(root: str, patience: float) -> Storage:
    """Return a storage root, with patience where there is any."""
    return Patient(root, patience) if patience else Storage(root)


def patience_of(storage: Storage) -> float:
    """Return how long a storage root is waited for."""
    return storage.patience if isinstance(storage, Patient) else 0.0


def give_up(storage: Storage) -> None:
    """Wait no longer."""
    if isinstance(storage, Patient):
        storage.patience = 0.0
