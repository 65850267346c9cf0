"""The log: rows on their way into the tables, in one small file a commit, under ``log/``.

A worker commits all rows of a job at once, wherever it runs; the file appears whole. Readers of
this package see rows from that moment. A driver folds what has come into the tables' Parquet files
(`results.tables.fold`), and removes it here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pyarrow as pa

from results.errors import DamagedError, TableError
from results.tables import schema
from results.tables.file import migrated, todays
from results.tables.schema import KEY, TABLES, arrow_schema, is_metric
from results.tables.storage import Storage

log = logging.getLogger(__name__)

Row = Mapping[str, Any]
Rows = Mapping[str, Sequence[Row]]
"""Rows by table."""
FOLDER = "log"
PATIENCE = 10.0
"""Seconds of work whose rows may wait for those that follow: a worker that dies loses them."""


class Log:
    """Rows of one writer, who gathers them and commits them together."""

    def __init__(self, storage: Storage, name: str = ""):
        self._storage = storage
        self._name = f"{name}-{uuid.uuid4().hex[:12]}".lstrip("-")
        self._waiting: defaultdict[str, list[Row]] = defaultdict(list)
        self._written: defaultdict[str, list[Row]] = defaultdict(list)
        self._since = time.monotonic()
        self.committed: list[str] = []
        """The names of its files, in their order."""

    def write(self, table: str, rows: Sequence[Row]) -> None:
        """Add rows; they are committed with what follows, or now if much time went into them."""
        self._waiting[table] += rows
        self._written[table] += rows
        if time.monotonic() - self._since > PATIENCE:
            self.commit()

    def commit(self) -> None:
        """Put what waits where nothing loses it.

        Raises:
            StorageIOError: It failed; the rows wait still.
        """
        if self._waiting:
            name = f"{self._name}-{len(self.committed):04d}.json"
            self._storage.write(encode(self._waiting), FOLDER, name)
            self.committed.append(name)
            self._waiting.clear()
        self._since = time.monotonic()

    def written(self, table: str, keys: Collection[str]) -> list[Row]:
        """Return the rows under some keys that this writer wrote, committed or not."""
        return [row for row in self._written.get(table, ()) if row[KEY[table][0]] in keys]


class Entries:
    """What the log of a storage root holds; a file is read once."""

    def __init__(self, storage: Storage):
        self._storage = storage
        self._known: dict[str, Rows] = {}
        self.damaged: set[str] = set()
        """The names of those that could not be read."""

    def names(self) -> list[str]:
        """Return the files' names."""
        return [name for name in self._storage.names(FOLDER) if name.endswith(".json")]

    def read(self) -> dict[str, Rows]:
        """Return the rows of every file there is; one that is damaged is named and left out."""
        names = self.names()
        self._known = {name: rows for name, rows in self._known.items() if name in set(names)}
        return self.of(names)

    def of(self, names: Sequence[str]) -> dict[str, Rows]:
        """Return the rows of some files, as far as they are there."""
        new = [name for name in names if name not in self._known]
        if len(new) == 1:
            found = [self._file(new[0])]
        else:
            with ThreadPoolExecutor(1 if self._storage.local else 32) as pool:
                found = list(pool.map(self._file, new))
        self._known |= {n: rows for n, rows in zip(new, found, strict=True) if rows is not None}
        return {name: self._known[name] for name in names if name in self._known}

    def _file(self, name: str) -> Rows | None:
        data = self._storage.read(FOLDER, name)
        path = self._storage.path(FOLDER, name)
        try:
            return None if data is None else decode(data, path)  # None: folded meanwhile
        except DamagedError as damage:
            log.warning("%s: %s; left out", path, damage)
            self.damaged.add(name)
            return None

    def faults(self) -> list[str]:
        """Return what is wrong with the files, one sentence each."""
        faults = []
        for name in self.names():
            path = self._storage.path(FOLDER, name)
            try:
                decode(self._storage.read(FOLDER, name) or b"", path)
            except (DamagedError, TableError) as fault:
                faults.append(str(fault) if path in str(fault) else f"{path}: {fault}")
        return faults


def arrow(table: str, rows: Sequence[Row]) -> pa.Table:
    """Return rows of a table in today's columns, its metrics among them."""
    metrics = sorted({name for row in rows for name in row if is_metric(name)})
    columns = arrow_schema(table, metrics if table == "trials" else ())
    return pa.Table.from_pylist([dict(row) for row in rows], columns)


def encode(rows: Rows) -> bytes:
    """Return rows as JSON behind a digest of itself."""
    text = json.dumps({"version": schema.VERSION, "rows": rows}, default=_plain).encode()
    return hashlib.sha256(text).hexdigest().encode() + b"\n" + text


def decode(data: bytes, path: str) -> Rows:
    """Return the rows that `encode` wrote.

    Raises:
        DamagedError: The data are not exactly what was written.
        TableError: A newer version wrote it.
    """
    digest, _, text = data.partition(b"\n")
    if digest != hashlib.sha256(text).hexdigest().encode():
        raise DamagedError("it is not what was written: its digest does not match")
    content = json.loads(text)
    if content["version"] > schema.VERSION:
        raise TableError(
            f"{path} has schema version {content['version']}; this mrsweep reads up to "
            f"{schema.VERSION}: install a newer one"
        )
    rows = {t: [_typed(t, row) for row in part] for t, part in content["rows"].items()}
    if content["version"] == schema.VERSION:
        return rows
    older = {t: migrated(pa.Table.from_pylist(p), t, content["version"]) for t, p in rows.items()}
    return {table: todays(part, table).to_pylist() for table, part in older.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return value.isoformat()
    return value.item()  # numpy's numbers


def _typed(table: str, row: dict[str, Any]) -> dict[str, Any]:
    for column in TABLES[table]:
        value = row.get(column.name)
        if value is not None and pa.types.is_binary(column.type):
            row[column.name] = base64.b64decode(value)
        elif value is not None and pa.types.is_timestamp(column.type):
            row[column.name] = datetime.fromisoformat(value)
    return row
