"""A shelf: the files of one table while rows are put into them, each key once.

Files are replaced whole and one by one, so that a reader of the bare folder sees a row before or
after, never twice; all have the same columns. Rows of an older mrsweep's files, one a key, cannot
move in one step: they are first safe in hidden files, then gone where they were, then shown.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from results.errors import DamagedError, TableError
from results.tables.file import is_todays, opened, packed, parse, salvaged
from results.tables.files import MERGING, Files, Stamps, is_numbered
from results.tables.rows import (
    LOGGED,
    NUMBERED,
    each_once,
    giving_way,
    ordered,
    parts_of,
    telling_columns,
)
from results.tables.schema import KEY, arrow_schema, is_metric

log = logging.getLogger(__name__)

FULL = 16_000_000
"""Bytes from which a file takes no more rows."""
MERGES = "mrsweep.merges"
"""Metadata of the last hidden file: the names of files whose rows are in the hidden ones."""


class LostRightError(TableError):
    """Another process folds now, since this one stood still for too long."""


@dataclass(frozen=True)
class Known:
    """What must be known of a file to leave it as it is."""

    stamp: tuple[int, str]
    columns: tuple[str, ...]
    current: bool
    """Whether it is as this version writes it."""
    keys: pa.Table
    """The columns of its keys, and that which tells what gives way."""


class Shelf:
    """The files of one table while rows are put into them."""

    def __init__(self, files: Files, known: dict[str, Known], may: Callable[[], bool]):
        """Begin.

        Args:
            files: of the table.
            known: what an earlier shelf knew of them, which is brought up to date.
            may: says, right before files change, whether this process may.
        """
        self._files, self._known, self._may = files, known, may
        self._table, self._storage = files.table, files.storage
        self._changed: dict[str, pa.Table] = {}

    def put(self, new: pa.Table | None) -> int:
        """Put rows into files; return how many there were to put."""
        stamps = self._files.stamps()
        if any(name.startswith(MERGING) for name in stamps):
            self._finish_merge()
            stamps = self._files.stamps()
        loose = [name for name in stamps if not is_numbered(name)]
        if new is None and not loose:
            return 0
        self._look(stamps)
        parts = [] if new is None else [ordered(new, self._table, LOGGED)]
        parts += parts_of(self._files, {name: stamps[name] for name in loose}, None)
        for name in self._files.damaged.intersection(loose):
            self._storage.move(self._at(name), ("damaged", self._table, name))
            loose.remove(name)
        if parts:
            self._place(each_once(parts, self._table))
        self._conform()
        self._write(loose)
        return sum(map(len, parts))

    def _place(self, new: pa.Table) -> None:
        """Decide which file each row goes to; one whose key is there already goes to none."""
        new = self._replace(new)
        for known in self._known.values():
            new = new.filter(pc.invert(_among(new, known.keys, KEY[self._table])))
        if len(new) == 0:
            return
        last = max(self._known, default=_numbered(0))
        takes = last in self._known and self._known[last].stamp[0] < FULL
        name = last if takes else _numbered(int(last[:6]) + 1)
        parts = [self._rows(last), new] if takes else [new]
        whole = pa.concat_tables(parts, promote_options="default")
        self._changed[name] = whole.sort_by([(key, "ascending") for key in KEY[self._table]])

    def _replace(self, new: pa.Table) -> pa.Table:
        """Put rows in the place of those that give way to them; return the others."""
        for name, known in self._known.items():
            old = known.keys.filter(giving_way(known.keys, self._table))
            again = _among(new, old, KEY[self._table])
            if pc.any(again).as_py():
                parts = [ordered(self._rows(name), self._table, NUMBERED)]
                parts += [ordered(new.filter(again), self._table, LOGGED)]
                self._changed[name] = each_once(parts, self._table)
                new = new.filter(pc.invert(again))
        return new

    def _conform(self) -> None:
        """See to it that all files have the same columns."""
        names = {name for known in self._known.values() for name in known.columns}
        names |= {name for rows in self._changed.values() for name in rows.column_names}
        wanted = self._columns(names)
        for name, known in self._known.items():
            if not (known.current and known.columns == wanted):
                self._changed.setdefault(name, self._rows(name))
        for name, rows in self._changed.items():
            self._changed[name] = _with_columns(rows, self._table, wanted)

    def _columns(self, names: Collection[str]) -> tuple[str, ...]:
        metrics = sorted(filter(is_metric, names)) if self._table == "trials" else []
        return tuple(arrow_schema(self._table, metrics).names)

    def _rows(self, name: str) -> pa.Table:
        if name in self._changed:
            return self._changed[name]
        rows = self._files.read(name, self._known[name].stamp[0])
        if rows is None:
            raise DamagedError(f"{self._path(name)} is damaged since it was looked at")
        return rows

    def _write(self, loose: Sequence[str]) -> None:
        """Replace files, the last first: who takes the columns of the first finds them in all."""
        names = sorted(self._changed, reverse=True)
        if not self._may():
            raise LostRightError(f"{self._path()}: another process folds now")
        if not loose:
            self._storage.write_all([(self._at(n), packed(self._changed[n])) for n in names])
            return
        for name in names:
            said = {MERGES: json.dumps(loose)} if name == names[-1] else {}
            hidden = self._at(f"{MERGING}{name}.tmp")
            self._storage.write(packed(self._changed[name], **said), *hidden)
        self._finish_merge()

    def _finish_merge(self) -> None:
        """Go on with a merge from where its hidden files are whole; drop what came less far."""
        hidden = {n: s for n, s in self._files.stamps().items() if n.startswith(MERGING)}
        if not hidden:
            return
        merged: list[str] | None = None
        for name, (size, _) in list(hidden.items()):
            try:
                with self._files.open(name, size) as file:
                    said = opened(file, self._path(name)).schema_arrow.metadata or {}
            except DamagedError as damage:
                log.warning("%s: %s; moved to damaged/%s", self._path(name), damage, self._table)
                self._storage.move(self._at(name), ("damaged", self._table, name))
                del hidden[name]
                continue
            merged = json.loads(said[MERGES.encode()]) if MERGES.encode() in said else merged
        if merged is None:
            self._storage.remove_files([self._at(name) for name in hidden])
            return
        self._storage.remove_files([self._at(name) for name in merged])
        for name in sorted(hidden, reverse=True):  # the one that says what is merged is the last
            shown = name.removeprefix(MERGING).removesuffix(".tmp")
            self._storage.move(self._at(name), self._at(shown))

    def _look(self, stamps: Stamps) -> None:
        """Learn what is new of the files."""
        numbered = {name: stamp for name, stamp in stamps.items() if is_numbered(name)}
        for name in self._known.keys() - numbered.keys():
            del self._known[name]
        for name, stamp in numbered.items():
            if name not in self._known or self._known[name].stamp != stamp:
                try:
                    self._known[name] = self._learnt(name, stamp)
                except DamagedError as damage:
                    self._mend(name, stamp, damage)

    def _learnt(self, name: str, stamp: tuple[int, str]) -> Known:
        with self._files.open(name, stamp[0]) as file:
            written = opened(file, self._path(name)).schema_arrow
            keys = parse(file, self._table, self._path(name), telling_columns(self._table))
        current = is_todays(written, self._columns(written.names))
        return Known(stamp, tuple(written.names), current, keys)

    def _mend(self, name: str, stamp: tuple[int, str], damage: DamagedError) -> None:
        """Set a damaged file aside, and write anew what of it is whole."""
        with self._files.open(name, stamp[0]) as file:
            rest = salvaged(file, self._table, self._path(name))
        self._storage.move(self._at(name), ("damaged", self._table, name))
        log.warning("%s: %s; moved to damaged/%s; %d rows of it are whole, the others are "
                    "computed again", self._path(name), damage, self._table,
                    0 if rest is None else len(rest))  # fmt: skip
        self._known.pop(name, None)
        if rest is not None and len(rest):
            self._changed[name] = rest
            keys = rest.select(telling_columns(self._table))
            self._known[name] = Known(stamp, tuple(rest.column_names), False, keys)

    def _at(self, name: str) -> tuple[str, ...]:
        return "tables", self._table, name

    def _path(self, *name: str) -> str:
        return self._storage.path("tables", self._table, *name)


def _numbered(number: int) -> str:
    return f"{number:06d}.parquet"


def _among(rows: pa.Table, there: pa.Table, keys: Sequence[str]) -> pa.Array | pa.ChunkedArray:
    """Return for each row whether its key is there."""
    first = pc.is_in(rows[keys[0]], there[keys[0]])
    if len(keys) == 1 or not pc.any(first).as_py():
        return first
    at = pa.array(range(len(rows)))
    numbered = rows.select(keys).append_column("at", at)
    both = numbered.join(there.select(keys), list(keys), join_type="inner")["at"]
    return pc.is_in(at, both.combine_chunks())


def _with_columns(rows: pa.Table, table: str, wanted: Sequence[str]) -> pa.Table:
    columns = arrow_schema(table, filter(is_metric, wanted))
    for column in columns:
        if column.name not in rows.column_names:
            rows = rows.append_column(column, pa.nulls(len(rows), column.type))
    return rows.select(columns.names).cast(columns)
