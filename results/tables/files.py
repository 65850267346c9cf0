"""The files of one table: which there are, and how each is read.

``000001.parquet`` and so on hold many rows, sorted by key. Files of other names are of an older
mrsweep, one a key, or joined by it. ``.merging-000001.parquet.tmp`` holds what 000001.parquet will
be once the files that it stands for are gone; no reader of the bare folder sees it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import IO, Any, TypeVar

import pyarrow as pa

from results.errors import DamagedError, StorageIOError
from results.tables.file import parse, parse_found
from results.tables.storage import Storage

log = logging.getLogger(__name__)

T = TypeVar("T")
Stamps = dict[str, tuple[int, str]]
"""By a file's name: its bytes, and what changes as it does."""
MERGING = ".merging-"
SMALL = 8_000_000
"""Bytes up to which a file of an object store is read whole: in one request, not in four."""
NUMBERED = re.compile(r"\d{6}\.parquet")


class Files:
    """The files of one table of a storage root, to read."""

    def __init__(self, storage: Storage, table: str):
        self.storage = storage
        self.table = table
        self.damaged: set[str] = set()
        """Those that could not be read."""

    def stamps(self) -> Stamps:
        """Return what there is, in the order of names; what is half written is left out."""
        found = self.storage.stamps("tables", self.table)
        return {name: found[name] for name in sorted(found) if _is_rows(name)}

    def read(self, name: str, size: int, columns: Sequence[str] | None = None) -> pa.Table | None:
        """Return a file's rows; None where it is damaged, which is said."""
        return self._whole(name, size, lambda file, path: parse(file, self.table, path, columns))

    def find(self, name: str, size: int, keys: Collection[str]) -> pa.Table | None:
        """Return a file's rows under some keys, as `read` does."""
        return self._whole(name, size, lambda file, path: parse_found(file, self.table, path, keys))

    def _whole(self, name: str, size: int, read: Callable[[Any, str], T]) -> T | None:
        path = self.storage.path("tables", self.table, name)
        try:
            with self.open(name, size) as file:
                return read(file, path)
        except StorageIOError as fault:
            if fault.errno is not None:
                raise  # the system's word: it is out of reach, not damaged
            log.warning("%s; left out", fault)
        except DamagedError as damage:
            log.warning("%s: %s; left out", path, damage)
        self.damaged.add(name)
        return None

    @contextlib.contextmanager
    def open(self, name: str, size: int) -> Iterator[IO[bytes]]:
        """Open a file to read."""
        path = self.storage.path("tables", self.table, name)
        with self.storage.faults(path):
            if self.storage.local or size > SMALL:
                with self.storage.fs.open(path, "rb") as file:
                    yield file
            else:
                data = self.storage.read("tables", self.table, name)
                if data is None:
                    raise FileNotFoundError(path)
                yield io.BytesIO(data)


def is_numbered(name: str) -> bool:
    """Say whether a file is one of this version's, not one a key."""
    return NUMBERED.fullmatch(name) is not None


def _is_rows(name: str) -> bool:
    return name.startswith(MERGING) or (name.endswith(".parquet") and not name.startswith("."))
