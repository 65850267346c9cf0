"""The command line. Each command is a few lines over the library; see ``mrsweep COMMAND --help``.

Exit codes: 0 all done, 1 some trials failed (or are left), 2 the request was wrong, 130 stopped.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from orchestrator.cli import commands
from orchestrator.state import maintenance as housekeeping

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Sweeps that decide whether the pruning criterion or the fine-tuning matters more for "
    "robust accuracy. Start with: mrsweep plan sweeps/demo.yaml",
)

File = Annotated[Path, typer.Argument(help="The sweep file, such as sweeps/demo.yaml.")]
StorageRoot = Annotated[
    str, typer.Option("--storage", help="Folder or URI that holds artifacts, tables and reports.")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Try failed trials once more.")]


class Executor(StrEnum):
    """What runs the jobs."""

    ray = "ray"
    inline = "inline"


class Logger(StrEnum):
    """Trackers that done trials may be shown in."""

    tensorboard = "tensorboard"
    wandb = "wandb"
    mlflow = "mlflow"


class Format(StrEnum):
    """Formats of an export."""

    csv = "csv"
    json = "json"
    benchmark = "benchmark"


@app.command()
def plan(file: File, storage: StorageRoot = "runs") -> None:
    """Show a sweep's cells, its shared stages, what is there already, and what the rest costs."""
    commands.plan(file, storage, _console())


@app.command()
def run(
    file: File,
    storage: StorageRoot = "runs",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Jobs at once, here; all cores where left out.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster to join, such as auto or ray://head:10001.")
    ] = None,
    executor: Annotated[Executor, typer.Option(help="ray, or inline: in this process.")] = (
        Executor.ray
    ),
    device: Device = "auto",
    retry_failed: RetryFailed = False,
    logger: Annotated[
        Logger | None, typer.Option(help="Show done trials in a tracker too (optional extras).")
    ] = None,
    log: Annotated[
        Path | None, typer.Option(help="File for a line of JSON an event, appended to.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check everything and show what would run."),
    ] = False,
) -> None:
    """Run what is left of a sweep, then report. Run it again to go on after an interruption."""
    tracker = logger.value if logger else None
    how = commands.How(workers, address, executor.value, device, retry_failed, tracker, log)
    if dry_run:
        commands.rehearse(file, storage, how, _console())
        return
    try:
        done = commands.run(file, storage, how, _console())
    except KeyboardInterrupt:
        message = "\nInterrupted. The same command goes on where this stopped."
        Console(stderr=True).print(message)
        raise typer.Exit(130) from None
    raise typer.Exit(0 if done else 1)


@app.command()
def trial(
    file: File,
    select: Annotated[
        str, typer.Option(help="Factor levels, such as criterion=l1,sparsity=0.5,seed=0.")
    ] = "",
    storage: StorageRoot = "runs",
    device: Device = "auto",
) -> None:
    """Run the first trial that matches, in this process, and show its row."""
    done = commands.trial(file, select, storage, device, _console())
    raise typer.Exit(0 if done else 1)


@app.command()
def status(file: File, storage: StorageRoot = "runs") -> None:
    """Show what of a sweep is done, running, failed and left, and how fast it goes."""
    commands.status(file, storage, _console())


@app.command()
def report(
    file: File,
    storage: StorageRoot = "runs",
    metric: Annotated[
        str | None, typer.Option(help="The metric that leads; the strongest attack's by default.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Folder for the report instead.")] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(help="Another sweep of this storage root, to set beside it; may be repeated."),
    ] = None,
) -> None:
    """Regenerate a sweep's verdict, figures and tables from Parquet alone."""
    commands.report(file, storage, metric, to, _console(), tuple(compare or ()))


@app.command("list")
def list_axis(
    axis: Annotated[str, typer.Argument(help="criteria, architectures, allocations, ...")] = "",
    names: Annotated[bool, typer.Option("--names", help="Bare names, one a line.")] = False,
) -> None:
    """List the methods of an axis, or the axes."""
    commands.list_axis(axis, names, _console())


@app.command()
def schema(
    tables: Annotated[
        bool, typer.Option("--tables", help="The tables' columns instead, as Markdown.")
    ] = False,
) -> None:
    """Print the JSON Schema of sweep files, for editors."""
    commands.schema(tables)


@app.command()
def compact(storage: StorageRoot = "runs") -> None:
    """Join the small files of every table into one; sweeps may go on writing meanwhile."""
    housekeeping.compact(storage, _console())


@app.command()
def check(
    storage: StorageRoot = "runs",
    artifacts: Annotated[
        bool, typer.Option("--artifacts", help="Read every artifact too, which takes longer.")
    ] = False,
) -> None:
    """Read everything in storage and name what is damaged or missing; exit code 1 if there is."""
    if not housekeeping.check(storage, artifacts, _console()):
        raise typer.Exit(1)


@app.command()
def export(
    file: File,
    to: Annotated[Path, typer.Option(help="The file to write.")],
    storage: StorageRoot = "runs",
    format: Annotated[  # noqa: A002 - the option's name
        Format, typer.Option(help="csv, json, or benchmark: CSV for the benchmark.")
    ] = Format.csv,
) -> None:
    """Write a sweep's trials as one CSV or JSON file, or as adversarial pruning benchmark rows."""
    commands.export(file, to, storage, format.value, _console())


def _console() -> Console:
    # The terminal wraps text; a file or a pipe gets whole lines, and tables of a fixed width.
    return Console(soft_wrap=True, width=None if sys.stdout.isatty() else 140)


def main() -> None:
    """Run the command line; wrong requests end with their message and exit code 2."""
    # Methods of the user's own are found next to where the command is given, as with python -m.
    sys.path.insert(0, str(Path.cwd()))
    try:
        app()
    except SystemExit:  # how typer ends, --help too: to ask for our errors would import much
        raise
    except commands.wrong_requests() as error:
        Console(stderr=True, soft_wrap=True).print(str(error), markup=False, highlight=False)
        raise SystemExit(2) from None
