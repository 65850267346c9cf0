"""The tables of a storage root: rows written through a log, read from files and log together.

A key has one row. The first that was written stays, but for the row of a failed trial and that of
an epoch whose training goes on, which any later one replaces. A damaged file reads as absent and
is named.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa

from results.errors import DamagedError, StorageIOError, TableError
from results.tables.file import parse
from results.tables.files import MERGING, Files, Stamps, is_numbered
from results.tables.log import Entries, Log, Row, Rows, arrow
from results.tables.rows import (
    LOGGED,
    each_once,
    gives_way,
    ordered,
    parts_of,
    telling_columns,
)
from results.tables.schema import KEY, arrow_schema, is_metric
from results.tables.storage import Storage

T = TypeVar("T")
LOOKS = 5
"""How often files may be joined under a reader's hands before it gives up."""


class Tables:
    """The tables of one storage root."""

    def __init__(self, storage: Storage, writer: str = ""):
        """Open them; ``writer`` begins the names of what is written through this one."""
        self.storage = storage
        self._log = Log(storage, writer)
        self._entries = Entries(storage)
        self._held: Mapping[str, Rows] | None = None

    def hold(self) -> None:
        """Look at the log once for all that is read from now on, which is of one moment then."""
        self._held = self._entries.read()

    def write(self, table: str, rows: Sequence[Row]) -> None:
        """Write rows, which are safe after `commit`, or once more work has gone into them."""
        self._log.write(table, rows)

    def commit(self) -> None:
        """Put what was written where nothing loses it, and every reader of this package sees it."""
        self._log.commit()

    @property
    def committed(self) -> tuple[str, ...]:
        """The names in the log of what was written here."""
        return tuple(self._log.committed)

    def entries(self, names: Sequence[str]) -> Mapping[str, Rows]:
        """Return the rows of some names in the log, by table."""
        return self._entries.of(names)

    def find(self, table: str, key: str) -> list[dict[str, Any]] | None:
        """Return the rows written under one key, or None."""
        return self.find_all(table, [key]).get(key)

    def find_all(self, table: str, keys: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
        """Return the rows under some keys, by key; without those that have none."""
        wanted = set(keys)
        own = [dict(row) for row in self._log.written(table, wanted)]
        # A trial's row may have been replaced by now; of other tables the first row stays.
        mine = [row for row in own if table != "trials" and not gives_way(table, row)]
        left = wanted - {row[KEY[table][0]] for row in mine}
        found: list[dict[str, Any]] = []
        if left:
            found = self._steady(table, lambda files, new: self._find(table, left, files, new))
        rows: dict[tuple[Any, ...], dict[str, Any]] = {}
        for row in [*found, *own]:
            name = tuple(row.get(column) for column in KEY[table])
            if name not in rows or gives_way(table, rows[name]):
                rows[name] = row
        by_key: dict[str, list[dict[str, Any]]] = {}
        for name, row in rows.items():
            by_key.setdefault(name[0], []).append(row)
        return by_key

    def _find(
        self, table: str, keys: Collection[str], files: Stamps, logged: Sequence[Row]
    ) -> list[dict[str, Any]]:
        mine, first = Files(self.storage, table), KEY[table][0]
        parts = [
            part
            for name, (size, _) in files.items()
            if _may_hold(name, keys) and (part := mine.find(name, size, keys)) is not None
        ]
        rows = [row for part in parts for row in part.to_pylist()]
        own = [row for row in logged if row[first] in keys]
        return rows + (arrow(table, own).to_pylist() if own else [])

    def keys(self, table: str) -> set[str]:
        """Return every key that `find` knows."""
        column = KEY[table][0]
        return set(self.arrow(table, [column])[column].to_pylist())

    def read(self, table: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return a whole table, in the order of its keys."""
        frame: pd.DataFrame = self.arrow(table, columns).to_pandas()
        return frame

    def arrow(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return a whole table: each row once, in the order of its keys."""
        wanted = None
        if columns is not None:
            wanted = [*dict.fromkeys((*telling_columns(table), *columns))]
        whole = self._steady(table, lambda files, logged: self._parts(table, wanted, files, logged))
        if not whole:
            empty = arrow_schema(table, filter(is_metric, columns or ())).empty_table()
            return empty if columns is None else empty.select(list(columns))
        joined = each_once(whole, table)
        return joined if columns is None else joined.select(list(columns))

    def _parts(
        self, table: str, columns: Sequence[str] | None, files: Stamps, logged: Sequence[Row]
    ) -> list[pa.Table]:
        parts = parts_of(Files(self.storage, table), files, columns)
        if logged:
            part = arrow(table, logged)
            if columns is not None:
                there = [name for name in columns if name in part.column_names]
                part = part.select(there)
            parts.append(ordered(part, table, LOGGED))
        return parts

    def _steady(self, table: str, look: Callable[[Stamps, Sequence[Row]], T]) -> T:
        """Look at the log, then at the files; again where files were joined meanwhile.

        What leaves the log is in a file by then. What leaves a file is in another one.
        """
        mine = Files(self.storage, table)
        for _ in range(LOOKS):
            log = self._entries.read() if self._held is None else self._held
            logged = [row for rows in log.values() for row in rows.get(table, ())]
            files = mine.stamps()
            try:
                found = look(files, logged)
            except FileNotFoundError:
                continue
            # A folder is listed name by name, beside changes; an object store at one moment.
            if not self.storage.local or mine.stamps().keys() == files.keys():
                return found
        raise TableError(f"table {table!r} is being joined again and again; try again later")

    def faults(self, table: str) -> list[str]:
        """Return what is wrong with a table's files, one sentence each; nothing is changed."""
        mine, faults = Files(self.storage, table), []
        for name, (size, _) in mine.stamps().items():
            path = self.storage.path("tables", table, name)
            try:
                with mine.open(name, size) as file:
                    parse(file, table, path, None)
            except (StorageIOError, DamagedError, TableError) as fault:
                text = str(fault)
                faults.append(text if path in text else f"{path}: {text}")
            except FileNotFoundError:
                continue  # joined with others meanwhile
        return faults


def _may_hold(name: str, keys: Collection[str]) -> bool:
    """Say whether a file may have rows under a key: an old one, named after its key, tells."""
    if is_numbered(name) or name.startswith((MERGING, "part-")):
        return True
    stem = name.removesuffix(".parquet")
    return any(stem == key or stem.startswith(f"{key}-") for key in keys)
