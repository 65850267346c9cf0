"""``mrsweep list``, ``schema`` and ``sweeps``: what there is to choose from."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.errors import RequestError
from orchestrator.sweepfile.editors import json_schema
from orchestrator.sweepfile.errors import allowed
from orchestrator.sweepfile.reference import keys_markdown
from orchestrator.sweepfile.shipped import TEMPLATE, purpose, shipped_sweeps
from prune_core.specs.registry import AXES
from results.tables.reference import tables_markdown


def list_methods(axis: str, names: bool, console: Console) -> None:
    """List the methods of one axis; without an axis, list the axes."""
    if axis not in AXES:
        known = ", ".join(AXES)
        if axis:
            raise RequestError(f"no axis {axis!r}; there are: {known}")
        console.print(f"Axes: {known}", highlight=False)
        return
    methods = AXES[axis].methods
    if names:
        for name in methods:
            print_plain(name)
        return
    table = _table("name", "what it is, what it reads, and where it is from")
    for name, method in methods.items():
        only = ["for channels only"] if "channels" in method.traits else []
        reads = [f"reads {', '.join(method.reads)}"] if method.reads else []
        told = Text(" · ".join([*reads, *only, method.source]), "dim")
        table.add_row(name, Text.assemble(method.summary, "\n", told))
    console.print(table, highlight=False)


def print_schema(tables: bool, keys: bool) -> None:
    """Print the JSON Schema of sweep files; or the tables' columns, or their keys, as Markdown."""
    if tables or keys:
        print_plain(tables_markdown() if tables else keys_markdown())
    else:
        print_plain(json.dumps(json_schema(), indent=2))


def print_plain(text: str) -> None:
    """Print a text that machines read too: no styling, no wrapping."""
    print(text)  # noqa: T201 - that is what it is for


def list_sweeps(console: Console) -> None:
    """List the sweep files that come with mrsweep."""
    table = _table("name", "what it is")
    for name, file in shipped_sweeps().items():
        table.add_row(name, purpose(file))
    console.print(table, highlight=False)
    console.print("\nTo copy one here: mrsweep sweeps NAME", highlight=False)


def copy_sweep(name: str, folder: Path, console: Console) -> None:
    """Copy a sweep file that comes with mrsweep; a file that is there already is kept.

    Raises:
        RequestError: There is no such sweep file, or it cannot be written.
    """
    files = shipped_sweeps()
    if name not in files:
        raise RequestError(f"no sweep file {name!r}; {allowed(name, list(files))}")
    _copy(files[name], folder / f"{name}.yaml", "give another folder by --to", console)


def write_template(to: Path, console: Console) -> None:
    """Write a commented sweep file; a file that is there already is kept.

    Raises:
        RequestError: It cannot be written.
    """
    _copy(TEMPLATE, to, "give another name", console)


def _copy(source: Path, to: Path, otherwise: str, console: Console) -> None:
    try:
        with to.open("xb") as file:
            file.write(source.read_bytes())
    except FileExistsError as error:
        raise RequestError(f"{to} exists; rename it, or {otherwise}") from error
    except OSError as error:
        raise RequestError(f"{to} cannot be written: {error.strerror}") from error
    console.print(f"Written to {to}. Next: mrsweep plan {to}", highlight=False)


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
