"""The tables on disk: a folder of Parquet files a table, each written once under its key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from results.schema import KEY, VERSION, arrow_schema, is_metric
from results.storage import Storage

Row = Mapping[str, Any]
COMPACTED = "part-"


class TableError(RuntimeError):
    """A table file that cannot be read; the message names it."""


class Tables:
    """The tables of one storage root."""

    def __init__(self, storage: Storage):
        self.storage = storage

    def write(self, table: str, key: str, rows: Sequence[Row], over: str | None = None) -> None:
        """Write the rows of one key in one file; a second writer of the key changes nothing.

        Only a row whose status is ``over`` gives way: a failed trial that was tried once more.
        """
        if self.storage.exists("tables", table, f"{key}.parquet"):
            if over is None:
                return
            if self._file(table, f"{key}.parquet", ["status"])["status"][0].as_py() != over:
                return
        metrics = sorted({name for row in rows for name in row if is_metric(name)})
        schema = arrow_schema(table, metrics if table == "trials" else ())
        self._put(table, f"{key}.parquet", pa.Table.from_pylist([dict(r) for r in rows], schema))

    def find(self, table: str, key: str) -> list[dict[str, Any]] | None:
        """Return the rows written under one key, or None."""
        if self.storage.exists("tables", table, f"{key}.parquet"):
            return list(self._file(table, f"{key}.parquet").to_pylist())
        for name in self._compacted(table):
            found = self._file(table, name)
            mask = pc.equal(found[KEY[table][0]], key)
            if pc.any(mask).as_py():
                return list(found.filter(mask).to_pylist())
        return None

    def read(self, table: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return a whole table, in the order of its keys."""
        frame: pd.DataFrame = self.arrow(table, columns).to_pandas()
        return frame

    def arrow(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return a whole table: each row once, in the order of its keys."""
        wanted = None if columns is None else [*dict.fromkeys((*KEY[table], *columns))]
        names = self._names(table)
        with ThreadPoolExecutor(8) as pool:
            parts = list(pool.map(lambda name: self._file(table, name, wanted), names))
        if not parts:
            schema = arrow_schema(table)
            return (schema if wanted is None else pa.schema([schema.field(c) for c in wanted])
                    ).empty_table()  # fmt: skip
        whole = pa.concat_tables(parts, promote_options="default")
        whole = _each_once(whole, table, names, parts)
        return whole if columns is None else whole.select(list(columns))

    def compact(self, table: str, limit: int = 1) -> int:
        """Join a table's small files into one, if there are more than ``limit``; return how many.

        A reader of the bare folder may see rows twice while this runs; `read` never does.
        """
        names = self._names(table)
        if len(names) <= limit:
            return 0
        whole = self.arrow(table)
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
        pq.write_table(rows, buffer, compression="zstd")
        self.storage.write(buffer.getvalue().to_pybytes(), "tables", table, name)

    def _file(self, table: str, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        path = self.storage.path("tables", table, name)
        try:
            with self.storage.fs.open(path, "rb") as file:
                parquet = pq.ParquetFile(file)
                version = int((parquet.schema_arrow.metadata or {}).get(b"mrsweep.version", b"0"))
                if version > VERSION:
                    raise TableError(
                        f"{path} has schema version {version}; this mrsweep reads up to {VERSION}: "
                        "install a newer one"
                    )
                return parquet.read(columns)
        except (OSError, pa.ArrowInvalid) as error:
            raise TableError(
                f"{path} cannot be read ({error}); move it away: its rows are computed again"
            ) from error


def _each_once(
    whole: pa.Table, table: str, names: Sequence[str], parts: Iterable[pa.Table]
) -> pa.Table:
    """Sort by key; of a key in several files, keep the row in its own (not compacted) file."""
    own = pa.array(
        [not name.startswith(COMPACTED) for name, part in zip(names, parts, strict=True)
         for _ in range(len(part))], pa.bool_())  # fmt: skip
    keys = list(KEY[table])
    order = [(key, "ascending") for key in keys] + [("_own", "descending")]
    whole = whole.append_column("_own", own).sort_by(order)
    if whole.num_rows > 1 and COMPACTED in {name[: len(COMPACTED)] for name in names}:
        first = whole.select(keys).to_pandas().duplicated().to_numpy()
        whole = whole.filter(pa.array(~first))
    return whole.drop_columns(["_own"])
