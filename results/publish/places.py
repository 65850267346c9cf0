"""Tables without the places that they were made at: names of machines, and paths in error texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import pyarrow as pa

PATH = re.compile(r"(?<![\w.…/:-])(?:/[\w.@+~=-]+)+/([\w.@+~=-]+)")
"""An absolute path of two names at least: ``8/255`` and ``a/b`` are none."""
NAMED = {"node": "machine", "node_id": "node"}
"""Columns with names of machines, and what stands for them."""


def without_paths(text: str) -> str:
    """Return a text in which absolute paths are cut to their last name."""
    return PATH.sub(r"…/\1", text)


def without_places(tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """Return tables with machines numbered, by the same number in all, and without paths.

    Machines that were apart stay apart: whether rows come from one or several is kept.
    """
    numbers = {column: _numbered(tables.values(), column, word) for column, word in NAMED.items()}
    return {name: _without(table, numbers) for name, table in tables.items()}


def _numbered(tables: Iterable[pa.Table], column: str, word: str) -> dict[str, str]:
    known = {name for table in tables if column in table.column_names
             for name in table[column].unique().to_pylist() if name}  # fmt: skip
    return {name: f"{word}-{number}" for number, name in enumerate(sorted(known), start=1)}


def _without(table: pa.Table, numbers: Mapping[str, Mapping[str, str]]) -> pa.Table:
    for at, field in enumerate(table.schema):
        if field.type != pa.string():
            continue
        words = table[field.name].to_pylist()
        known = numbers.get(field.name)
        told = [word and (known[word] if known else without_paths(word)) for word in words]
        if told != words:
            table = table.set_column(at, field, pa.array(told, pa.string()))
    return table
