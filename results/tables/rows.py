"""Rows of a table from several places, each key once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from results.tables.files import Files, Stamps, is_numbered
from results.tables.schema import KEY

ORDER = "_order"
BATCH = 1000
"""Files whose rows are joined at a time."""
NUMBERED, LOOSE, LOGGED = range(3)
"""Where rows lie: in a file of many, in one of an older mrsweep, in the log."""


PROVISIONAL = {"trials": "status", "epochs": "reported"}
"""By table whose rows may be replaced by later ones of their key: the column that tells which."""


def gives_way(table: str, row: Mapping[str, Any]) -> bool:
    """Say whether a row is replaced by a later one of its key.

    That is the row of a trial that failed, and of an epoch whose training has not ended.
    """
    if table not in PROVISIONAL:
        return False
    told = row.get(PROVISIONAL[table])
    return told == "failed" if table == "trials" else told is None


def giving_way(rows: pa.Table, table: str) -> pa.Array | pa.ChunkedArray:
    """Return for each row whether it `gives_way`."""
    if table not in PROVISIONAL:
        return pa.repeat(pa.scalar(False), len(rows))
    told = rows[PROVISIONAL[table]]
    return pc.fill_null(pc.equal(told, "failed"), False) if table == "trials" else pc.is_null(told)


def telling_columns(table: str) -> list[str]:
    """Return the columns that must be read to keep each row once."""
    return [*KEY[table], *([PROVISIONAL[table]] if table in PROVISIONAL else [])]


def ordered(rows: pa.Table, table: str, source: int) -> pa.Table:
    """Return rows with a column whose lowest value is that of the row that stays, of one key's.

    One that stays goes before one that `gives_way`; of two that stay the older goes first, of two
    that give way the newer one.
    """
    order: Any = pa.repeat(pa.scalar(source, pa.int8()), len(rows))
    if table in PROVISIONAL:
        order = pc.if_else(giving_way(rows, table), pa.scalar(9 - source, pa.int8()), order)
    return rows.append_column(ORDER, order)


def parts_of(files: Files, stamps: Stamps, columns: Sequence[str] | None) -> list[pa.Table]:
    """Return the rows of files, `ordered`, in few pieces."""
    parts, names = [], list(stamps)
    with ThreadPoolExecutor(8 if files.storage.local else 32) as pool:
        for start in range(0, len(names), BATCH):
            batch = names[start : start + BATCH]
            found = pool.map(lambda name: files.read(name, stamps[name][0], columns), batch)
            read = [
                ordered(part, files.table, NUMBERED if is_numbered(name) else LOOSE)
                for name, part in zip(batch, found, strict=True)
                if part is not None
            ]
            if read:
                parts.append(_joined(read))
    return parts


def each_once(parts: Sequence[pa.Table], table: str) -> pa.Table:
    """Join `ordered` parts, sorted by key, and keep one row of every key."""
    keys = list(KEY[table])
    whole = _joined(parts)
    whole = whole.sort_by([*((key, "ascending") for key in keys), (ORDER, "ascending")])
    if pc.any(pc.not_equal(whole[ORDER], NUMBERED)).as_py():
        repeated = whole.select(keys).to_pandas().duplicated().to_numpy()
        whole = whole.filter(pa.array(~repeated))
    return whole.drop_columns([ORDER])


def _joined(parts: Sequence[pa.Table]) -> pa.Table:
    """Return many parts as one piece: a piece a file would take a hundred times more memory."""
    return pa.concat_tables(parts, promote_options="default").combine_chunks()
