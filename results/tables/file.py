"""One file of a table: what it must hold to be whole, and how an older one reads today."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from results.errors import DamagedError, TableError
from results.tables import schema
from results.tables.schema import arrow_schema, is_metric

NAMES = b"mrsweep.columns"
"""Metadata: digest of the columns' names, which no checksum of a page covers."""


def stamped(rows: pa.Table) -> pa.Table:
    """Return rows with the digest of their columns' names, which no checksum of a page covers."""
    named = {**(rows.schema.metadata or {}), NAMES: _digest(rows.column_names)}
    return rows.replace_schema_metadata(named)


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
    try:
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
        version = int((parquet.schema_arrow.metadata or {}).get(b"mrsweep.version", b"1"))
        if version > schema.VERSION:
            raise TableError(
                f"{path} has schema version {version}; this mrsweep reads up to {schema.VERSION}: "
                "install a newer one"
            )
        names = parquet.schema_arrow.names
        if (written := _names_digest(parquet.schema_arrow)) and written != _digest(names):
            raise DamagedError("its columns are not those that were written")
        if version < schema.VERSION:
            rows = parquet.read()
            for migrate in schema.MIGRATIONS[version - 1 :]:
                rows = migrate(table, rows)
        else:
            rows = parquet.read(columns and [name for name in columns if name in names])
        return _todays(rows, table, columns)
    except (pa.ArrowException, ValueError, KeyError) as error:
        raise DamagedError(f"it cannot be read ({error})") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise DamagedError(f"it cannot be read ({error})") from error


def _todays(rows: pa.Table, table: str, columns: Sequence[str] | None) -> pa.Table:
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


def _digest(names: Iterable[str]) -> bytes:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16].encode()


def _names_digest(schema: pa.Schema) -> bytes | None:
    digest: bytes | None = (schema.metadata or {}).get(NAMES)
    return digest
