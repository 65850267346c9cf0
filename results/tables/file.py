"""One file of a table: what it must hold to be whole, and how an older one reads today."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from results.errors import DamagedError, TableError
from results.tables import schema
from results.tables.schema import KEY, arrow_schema, file_schema, is_metric

NAMES = b"mrsweep.columns"
"""Metadata: digest of the columns' names, which no checksum of a page covers."""
GROUP = 2048
"""Rows of a row group: what is read to find one row, and lost where a byte is damaged."""


def packed(rows: pa.Table, **said: str) -> bytes:
    """Return rows as a Parquet file; what is ``said`` goes into its metadata."""
    columns = file_schema(rows.schema)
    said = {NAMES.decode(): _digest(rows.column_names).decode(), **said}
    columns = columns.with_metadata({**(rows.schema.metadata or {}), **said})
    buffer = pa.BufferOutputStream()
    pq.write_table(
        rows.cast(columns),
        buffer,
        row_group_size=GROUP,
        compression="zstd",
        write_page_checksum=True,
    )
    data: bytes = buffer.getvalue().to_pybytes()
    return data


def is_todays(written: pa.Schema, columns: Sequence[str]) -> bool:
    """Say whether a file has exactly these columns, as this version writes them."""
    return written.names == list(columns) and _version(written) == schema.VERSION


def parse(file: Any, table: str, path: str, columns: Sequence[str] | None) -> pa.Table:
    """Return the rows of an open file in today's columns.

    Args:
        file: opened to read bytes.
        table: its table's name.
        path: of the file, for messages.
        columns: those to read; all where None.

    Raises:
        DamagedError: It does not hold what was written.
        TableError: A newer version wrote it.
    """
    with _reading():
        parquet = opened(file, path)
        return _read(parquet, table, columns, None)


def parse_found(file: Any, table: str, path: str, keys: Collection[str]) -> pa.Table:
    """Return the rows of an open file that are written under some keys, as `parse` does.

    Files are sorted by key: statistics tell which group of rows can hold one, and no other is read.
    """
    with _reading():
        parquet = opened(file, path)
        name, wanted = KEY[table][0], pa.array(sorted(keys), pa.string())
        if _version(parquet.schema_arrow) < schema.VERSION:
            rows = _read(parquet, table, None, None)
        else:
            groups = [
                group
                for group in range(parquet.num_row_groups)
                if _may_hold(parquet, group, name, keys)
                and pc.any(pc.is_in(parquet.read_row_group(group, [name])[name], wanted)).as_py()
            ]
            rows = _read(parquet, table, None, groups)
        return rows.filter(pc.is_in(rows[name], wanted))


def salvaged(file: Any, table: str, path: str) -> pa.Table | None:
    """Return what a damaged file still holds: its row groups that are whole; None for none."""
    whole = []
    try:
        parquet = opened(file, path)
        for group in range(parquet.num_row_groups):
            try:
                with _reading():
                    whole.append(_read(parquet, table, None, [group]))
            except DamagedError:
                continue  # its rows are computed again
    except DamagedError:
        return None
    return pa.concat_tables(whole) if whole else None


def opened(file: Any, path: str) -> pq.ParquetFile:
    """Open a file that this version can read.

    Raises:
        DamagedError: It does not hold what was written.
        TableError: A newer version wrote it.
    """
    with _reading():
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
        version = _version(parquet.schema_arrow)
    if version > schema.VERSION:
        raise TableError(
            f"{path} has schema version {version}; this mrsweep reads up to {schema.VERSION}: "
            "install a newer one"
        )
    written = (parquet.schema_arrow.metadata or {}).get(NAMES)
    if written and written != _digest(parquet.schema_arrow.names):
        raise DamagedError("its columns are not those that were written")
    return parquet


def migrated(rows: pa.Table, table: str, version: int) -> pa.Table:
    """Return rows of an older version as today's has them."""
    for migrate in schema.MIGRATIONS[version - 1 :]:
        rows = migrate(table, rows)
    return rows


def todays(rows: pa.Table, table: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Return rows in today's columns: what an older mrsweep did not have is null."""
    wanted = arrow_schema(table, [name for name in rows.column_names if is_metric(name)])
    if columns is not None:
        metrics = arrow_schema(table, [name for name in columns if is_metric(name)])
        wanted = pa.schema([metrics.field(name) for name in columns], metrics.metadata)
    if rows.schema.equals(wanted):
        return rows
    for field in wanted:
        if field.name not in rows.column_names:
            rows = rows.append_column(field, pa.nulls(len(rows), field.type))
    return rows.select(wanted.names).cast(wanted)


def _read(
    parquet: pq.ParquetFile,
    table: str,
    columns: Sequence[str] | None,
    groups: Sequence[int] | None,
) -> pa.Table:
    names, version = parquet.schema_arrow.names, _version(parquet.schema_arrow)
    there = columns and [name for name in columns if name in names]
    wanted = None if version < schema.VERSION else there
    chosen = range(parquet.num_row_groups) if groups is None else groups
    rows = parquet.read_row_groups(list(chosen), wanted)
    return todays(migrated(rows, table, version), table, columns)


def _may_hold(parquet: pq.ParquetFile, group: int, name: str, keys: Collection[str]) -> bool:
    at = parquet.schema_arrow.names.index(name)  # no column has parts: each is one of Parquet's too
    known = parquet.metadata.row_group(group).column(at).statistics
    if known is None or not known.has_min_max:
        return True
    return any(known.min <= key <= known.max for key in keys)


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Turn whatever goes wrong within with what is in a file into a `DamagedError`."""
    try:
        yield
    except DamagedError:
        raise
    except (pa.ArrowException, ValueError, KeyError) as error:
        raise DamagedError(f"it cannot be read ({error})") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise DamagedError(f"it cannot be read ({error})") from error


def _version(written: pa.Schema) -> int:
    return int((written.metadata or {}).get(b"mrsweep.version", b"1"))


def _digest(names: Iterable[str]) -> bytes:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16].encode()
