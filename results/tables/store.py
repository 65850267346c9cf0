"""The tables on disk: a folder of Parquet files a table, each written once under its key.

A damaged file (truncated, a flipped byte) reads as absent and is named; who writes here sets it
aside, in ``damaged/``, so that what it held is computed again.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from results.errors import DamagedError, StorageIOError, TableError
from results.tables.file import parse, stamped
from results.tables.schema import KEY, arrow_schema, is_metric
from results.tables.storage import Storage

log = logging.getLogger(__name__)

Row = Mapping[str, Any]
T = TypeVar("T")
COMPACTED = "part-"
OWN = "_own"
BATCH = 1000
"""Files whose rows are joined at a time."""
COMPACTIONS = 5
"""How often a table may be compacted under a reader's hands before it gives up."""


class Tables:
    """The tables of one storage root; ``mend`` for who writes there too."""

    def __init__(self, storage: Storage, mend: bool = False):
        self.storage = storage
        self._mend = mend

    def write(self, table: str, key: str, rows: Sequence[Row], over: str | None = None) -> None:
        """Write the rows of one key in one file; a second writer of the key changes nothing.

        Only a row whose status is ``over`` gives way: a failed trial that was tried once more.
        """
        if self.storage.exists("tables", table, f"{key}.parquet"):
            if over is None:
                return
            try:
                there = self._file(table, f"{key}.parquet", ["status"])
            except FileNotFoundError:
                return  # compacted meanwhile, so it is settled
            if there is not None and there["status"][0].as_py() != over:
                return
        metrics = sorted({name for row in rows for name in row if is_metric(name)})
        schema = arrow_schema(table, metrics if table == "trials" else ())
        self._put(table, f"{key}.parquet", pa.Table.from_pylist([dict(r) for r in rows], schema))

    def find(self, table: str, key: str) -> list[dict[str, Any]] | None:
        """Return the rows written under one key, or None."""
        return self._while_compacted(table, lambda: self._find(table, key))

    def _find(self, table: str, key: str) -> list[dict[str, Any]] | None:
        if self.storage.exists("tables", table, f"{key}.parquet"):
            own = self._file(table, f"{key}.parquet")
            if own is not None:
                return list(own.to_pylist())
        for name in self._compacted(table):
            part = self._file(table, name)
            if part is None:
                continue
            mask = pc.equal(part[KEY[table][0]], key)
            if pc.any(mask).as_py():
                return list(part.filter(mask).to_pylist())
        return None

    def keys(self, table: str) -> set[str]:
        """Return what `find` knows; a listing, and a column of what is compacted."""
        return self._while_compacted(table, lambda: self._keys(table))

    def _keys(self, table: str) -> set[str]:
        keys: set[str] = set()
        for name in self._names(table):
            if not name.startswith(COMPACTED):
                keys.add(name.removesuffix(".parquet"))
            elif (part := self._file(table, name, KEY[table][:1])) is not None:
                keys.update(part[KEY[table][0]].to_pylist())
        return keys

    def read(self, table: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return a whole table, in the order of its keys."""
        frame: pd.DataFrame = self.arrow(table, columns).to_pandas()
        return frame

    def arrow(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return a whole table: each row once, in the order of its keys."""
        wanted = None if columns is None else [*dict.fromkeys((*KEY[table], *columns))]
        whole, _ = self._whole(table, wanted)
        if whole is None:
            whole = arrow_schema(table).empty_table()
        return whole if columns is None else whole.select(list(columns))

    def _whole(
        self, table: str, columns: Sequence[str] | None, settled: bool = False
    ) -> tuple[pa.Table | None, list[str]]:
        """Return a table and the files that it is of; None where there are none.

        With ``settled``, files that may still change are left out.
        """
        return self._while_compacted(table, lambda: self._batches(table, columns, settled))

    def _while_compacted(self, table: str, look: Callable[[], T]) -> T:
        """Look, and once more where a file vanished meanwhile: its rows are in another one."""
        for _ in range(COMPACTIONS):
            try:
                return look()
            except FileNotFoundError:
                continue
        raise TableError(f"table {table!r} is being compacted again and again; try again later")

    def _batches(
        self, table: str, columns: Sequence[str] | None, settled: bool
    ) -> tuple[pa.Table | None, list[str]]:
        whole, batches = [], []
        names = self._names(table)
        with ThreadPoolExecutor(8 if self.storage.local else 32) as pool:
            for start in range(0, len(names), BATCH):
                batch = names[start : start + BATCH]
                parts = pool.map(lambda name: self._file(table, name, columns), batch)
                read = [
                    (name, part)
                    for name, part in zip(batch, parts, strict=True)
                    if part is not None and not (settled and _may_change(name, part))
                ]
                whole += [name for name, _ in read]
                if read:
                    batches.append(_batch(read))
        if not batches:
            return None, []
        return _each_once(pa.concat_tables(batches, promote_options="default"), table), whole

    def faults(self, table: str) -> list[str]:
        """Return what is wrong with a table's files, one sentence each; nothing is changed."""
        faults = []
        for name in self._names(table):
            path = self.storage.path("tables", table, name)
            try:
                self._rows(table, name, None)
            except (StorageIOError, DamagedError, TableError) as fault:
                text = str(fault)
                faults.append(text if path in text else f"{path}: {text}")
            except FileNotFoundError:
                continue  # compacted meanwhile
        return faults

    def compact(self, table: str, limit: int = 1) -> int:
        """Join a table's small files into one, if there are more than ``limit``; return how many.

        Safe while sweeps write: a file is removed after its rows are in the joint one, and never
        changes, but for a failed trial that is tried again: files of failed trials stay. A reader
        of the bare folder may see rows twice for a moment; `read` never does.
        """
        names = self._names(table)
        if len(names) <= limit:
            return 0
        whole, names = self._whole(table, None, settled=table == "trials")
        if whole is None or len(names) <= 1:
            return 0
        digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
        self._put(table, f"{COMPACTED}{digest}.parquet", whole)
        for name in names:
            self.storage.remove("tables", table, name)
        return len(names)

    def _names(self, table: str) -> list[str]:
        return [n for n in self.storage.names("tables", table) if n.endswith(".parquet")]

    def _compacted(self, table: str) -> list[str]:
        return [name for name in self._names(table) if name.startswith(COMPACTED)]

    def _put(self, table: str, name: str, rows: pa.Table) -> None:
        buffer = pa.BufferOutputStream()
        pq.write_table(stamped(rows), buffer, compression="zstd", write_page_checksum=True)
        self.storage.write(buffer.getvalue().to_pybytes(), "tables", table, name)

    def _rows(self, table: str, name: str, columns: Sequence[str] | None) -> pa.Table:
        path = self.storage.path("tables", table, name)
        with self.storage.faults(path), self.storage.fs.open(path, "rb") as file:
            return parse(file, table, path, columns)

    def _file(self, table: str, name: str, columns: Sequence[str] | None = None) -> pa.Table | None:
        """Return a file's rows; None where it is damaged, which is said, and mended if it may."""
        path = self.storage.path("tables", table, name)
        try:
            return self._rows(table, name, columns)
        except StorageIOError as fault:
            if fault.errno is not None:
                raise  # the system's word: it is out of reach, not damaged
            why = str(fault)
        except DamagedError as damage:
            why = f"{path}: {damage}"
        if self._mend:
            self.storage.move(("tables", table, name), ("damaged", table, name))
            log.warning("%s; moved to damaged/%s, its rows are computed again", why, table)
        else:
            log.warning("%s; left out", why)
        return None


def _batch(read: Sequence[tuple[str, pa.Table]]) -> pa.Table:
    """Return the rows of many files as one piece: a piece a file would take a hundred times more.

    A column says of each row whether its file is its own, not a compacted one.
    """
    marked = [
        part.append_column(OWN, pa.repeat(not name.startswith(COMPACTED), len(part)))
        for name, part in read
    ]
    return pa.concat_tables(marked, promote_options="default").combine_chunks()


def _each_once(whole: pa.Table, table: str) -> pa.Table:
    """Sort by key; of a key in several files, keep the row in its own (not compacted) file."""
    keys = list(KEY[table])
    whole = whole.sort_by([*((key, "ascending") for key in keys), (OWN, "descending")])
    if whole.num_rows > 1 and not pc.all(whole[OWN]).as_py():
        first = whole.select(keys).to_pandas().duplicated().to_numpy()
        whole = whole.filter(pa.array(~first))
    return whole.drop_columns([OWN])


def _may_change(name: str, rows: pa.Table) -> bool:
    """Say whether a writer may still replace a file: that of a failed trial, which is its own."""
    return not name.startswith(COMPACTED) and "failed" in rows["status"].to_pylist()
