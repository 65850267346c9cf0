"""The command line of the tools; it only parses, as ``orchestrator.cli.main`` does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import Changes, Device, File, StorageRoot, console, examples

app = typer.Typer()


@app.command(epilog=examples("init", "init mine.yaml"))
def init(
    to: Annotated[Path, typer.Argument(help="The sweep file to write.")] = Path("sweep.yaml"),
) -> None:
    """Write a commented sweep file to begin with; it runs as it is, on handwritten digits."""
    from orchestrator.cli.tools.catalogue import write_template

    write_template(to, console())


@app.command(epilog=examples("sweeps", "sweeps demo"))
def sweeps(
    name: Annotated[
        str, typer.Argument(help="The sweep file to copy; without it, all are listed.")
    ] = "",
    to: Annotated[Path, typer.Option(help="Folder for the copy.")] = Path(),
) -> None:
    """List the sweep files that come with mrsweep, or copy one of them here."""
    from orchestrator.cli.tools.catalogue import copy_sweep, list_sweeps

    if name:
        copy_sweep(name, to, console())
    else:
        list_sweeps(console())


@app.command("list", epilog=examples("list", "list criteria", "list attacks --names"))
def list_methods(
    axis: Annotated[str, typer.Argument(help="criteria, architectures, allocations, ...")] = "",
    names: Annotated[bool, typer.Option("--names", help="Bare names, one on each line.")] = False,
) -> None:
    """List the methods of an axis, or the axes."""
    from orchestrator.cli.tools import catalogue

    catalogue.list_methods(axis, names, console())


@app.command(epilog=examples("schema > sweep.schema.json", "schema --tables", "schema --keys"))
def schema(
    ctx: typer.Context,
    tables: Annotated[
        bool, typer.Option("--tables", help="The tables' columns instead, as Markdown.")
    ] = False,
    keys: Annotated[
        bool, typer.Option("--keys", help="Every key of a sweep file instead, as Markdown.")
    ] = False,
    commands: Annotated[
        bool, typer.Option("--commands", help="Every command instead, as Markdown.")
    ] = False,
) -> None:
    """Print the JSON Schema of sweep files, for editors."""
    from orchestrator.cli.tools import catalogue, reference

    if commands:
        catalogue.print_plain(reference.commands_markdown(ctx.find_root().command))
    else:
        catalogue.print_schema(tables, keys)


@app.command(epilog=examples("doctor", "doctor mine.yaml --storage s3://bucket/runs"))
def doctor(
    file: Annotated[
        Path | None, typer.Argument(help="A sweep file, whose images are read too.")
    ] = None,
    storage: StorageRoot = "runs",
    device: Device = "auto",
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster to join; without it, Ray is started here.")
    ] = None,
) -> None:
    """Try what a sweep needs once: versions, device, images, storage, Ray; say how to mend it."""
    from orchestrator.cli.tools.doctor import examine

    if not examine(file, storage, device, address, console()):
        raise typer.Exit(1)


@app.command(epilog=examples("serve demo.yaml", "serve demo.yaml --port 8000 --every 30"))
def serve(
    file: File,
    changes: Changes = None,
    storage: StorageRoot = "runs",
    host: Annotated[
        str, typer.Option(help="Address to listen on; this machine alone by default.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8421,
    every: Annotated[
        float, typer.Option(min=0.1, help="Seconds between two looks at the tables.")
    ] = 5,
    metric: Annotated[
        str | None, typer.Option(help="The metric that leads; the strongest attack's by default.")
    ] = None,
) -> None:
    """Show a sweep's page in a browser while it runs, from the tables alone."""
    from orchestrator.cli.tools.serving import serve as serve_page

    serve_page(file, storage, (host, port), every, metric, console(), changes or ())


@app.command(epilog=examples("compact --storage runs"))
def compact(storage: StorageRoot = "runs") -> None:
    """Bring all rows into few files, an older mrsweep's too; sweeps may go on meanwhile."""
    from orchestrator.cli import maintenance

    maintenance.compact(storage, console())


@app.command(epilog=examples("check --storage runs --artifacts"))
def check(
    storage: StorageRoot = "runs",
    artifacts: Annotated[
        bool, typer.Option("--artifacts", help="Read every artifact too, which takes longer.")
    ] = False,
) -> None:
    """Read everything in storage and name what is damaged or missing; exit code 1 if so."""
    from orchestrator.cli import maintenance

    if not maintenance.check(storage, artifacts, console()):
        raise typer.Exit(1)
