"""The command line. It only parses: each command imports what it needs when it is called.

Exit codes: 0 all done, 1 some trials failed (or are left), 2 the request was wrong, 70 a fault of
mrsweep's own, 130 stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from orchestrator.cli.claims import commands as claims
from orchestrator.cli.exports import commands as exports
from orchestrator.cli.options import (
    Address,
    Changes,
    Commands,
    Device,
    Executor,
    File,
    Logger,
    Patience,
    RetryFailed,
    Runner,
    Show,
    ShowOption,
    StorageRoot,
    Workers,
    closing,
    crashed,
    examples,
    line,
)
from orchestrator.cli.options import console as _console
from orchestrator.cli.rerun import commands as rerun
from orchestrator.cli.tools import commands
from orchestrator.errors import OrchestratorError
from prune_core import __version__
from prune_core.errors import PruneCoreError
from results.errors import ResultsError

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Sweeps that decide whether the pruning criterion or the fine-tuning matters more for "
    "robust accuracy. Start with: mrsweep sweeps demo, then mrsweep plan demo.yaml",
    epilog=closing(),
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"mrsweep {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Take the options that stand before a command."""
    del version  # its callback has shown it


@app.command(
    epilog=examples(
        "plan demo.yaml",
        "plan demo.yaml --storage s3://bucket/runs",
        "plan cifar10.yaml --probe --device cuda",
    )
)
def plan(
    file: File,
    changes: Changes = None,
    storage: StorageRoot = "runs",
    probe: Annotated[
        bool, typer.Option("--probe", help="Time a batch of each kind of work first, in a minute.")
    ] = False,
    device: Device = "auto",
    show: ShowOption = None,
) -> None:
    """Show a sweep's cells and shared stages, what is done already, and what the rest costs."""
    if show is Show.config:
        _show_config(file, changes)
        return
    from orchestrator.cli.request import open_sweep
    from orchestrator.cli.status import show_plan
    from orchestrator.state.survey import survey

    planned, root = open_sweep(file, storage, changes or ())
    state = survey(planned, root)
    if probe:
        from orchestrator.cli.tools.timing import time_batches

        time_batches(planned, root, state, device, _console())
    show_plan(planned, root, state, _console())


@app.command(
    epilog=examples(
        "run demo.yaml",
        "run demo.yaml --workers 2 --storage /scratch/runs",
        "run demo.yaml threat.eps=0.1 seeds=5",
        "run cifar10.yaml --address auto --storage s3://bucket/runs",
        "run demo.yaml --executor inline --device cpu",
    )
)
def run(
    file: File,
    changes: Changes = None,
    storage: StorageRoot = "runs",
    workers: Workers = None,
    address: Address = None,
    executor: Runner = Executor.ray,
    device: Device = "auto",
    retry_failed: RetryFailed = False,
    logger: Annotated[
        Logger | None, typer.Option(help="Show trainings in tensorboard, wandb or mlflow too.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option(help="Append a line of JSON for every event to this file.")
    ] = None,
    patience: Patience = 15,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and show what would run.")
    ] = False,
    show: ShowOption = None,
) -> None:
    """Run what is left of a sweep, then report. Run it again to go on after an interruption."""
    if show is Show.config:
        _show_config(file, changes)
        return
    from orchestrator.cli import running

    tracker = logger.value if logger else None
    how = running.How(
        workers,
        address,
        executor.value,
        device,
        retry_failed,
        tracker,
        log,
        tuple(changes or ()),
        60 * patience,
    )
    if dry_run:
        running.rehearse(file, storage, how, _console())
        return
    try:
        with running.terminable():
            done = running.run(file, storage, how, _console())
    except KeyboardInterrupt:
        message = "\nInterrupted. Give the same command again to go on from here."
        Console(stderr=True, emoji=False).print(message)
        raise typer.Exit(130) from None
    raise typer.Exit(0 if done else 1)


@app.command(epilog=examples("trial demo.yaml --select criterion=l1,sparsity=0.3,seed=0"))
def trial(
    file: File,
    changes: Changes = None,
    select: Annotated[
        str, typer.Option(help="Factor levels, such as criterion=l1,sparsity=0.5,seed=0.")
    ] = "",
    storage: StorageRoot = "runs",
    device: Device = "auto",
) -> None:
    """Run the first trial that matches, in this process, and show its row."""
    from orchestrator.cli.trial import run_trial

    done = run_trial(file, select, storage, device, _console(), changes or ())
    raise typer.Exit(0 if done else 1)


@app.command(epilog=examples("status demo.yaml"))
def status(file: File, changes: Changes = None, storage: StorageRoot = "runs") -> None:
    """Show what of a sweep is done, running, failed and left, and how fast it goes."""
    from orchestrator.cli.request import open_sweep
    from orchestrator.cli.status import show_status

    show_status(*open_sweep(file, storage, changes or ()), _console())


@app.command(epilog=examples("failures demo.yaml"))
def failures(file: File, changes: Changes = None, storage: StorageRoot = "runs") -> None:
    """Show what of a sweep failed, by kind, with file, line and last frames; exit code 1 if any."""
    from orchestrator.cli.failures import show_failures
    from orchestrator.cli.request import open_sweep

    again = line("run", file, changes or (), storage, "--retry-failed")
    if not show_failures(*open_sweep(file, storage, changes or ()), again, _console()):
        raise typer.Exit(1)


@app.command(epilog=examples("data mine.yaml"))
def data(file: File) -> None:
    """Tell what a sweep's images are, for the sweep files of machines that do not have them."""
    from orchestrator.cli.request import tell_content

    tell_content(file, _console())


@app.command(
    epilog=examples(
        "report demo.yaml --metric finetuned_pgd_20", "report mine.yaml --compare demo --to page"
    )
)
def report(
    file: File,
    changes: Changes = None,
    storage: StorageRoot = "runs",
    metric: Annotated[
        str | None, typer.Option(help="The metric that leads; the strongest attack's by default.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Folder for the report, instead of the storage root's.")
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(help="Another sweep in this storage root to set beside it; may be repeated."),
    ] = None,
) -> None:
    """Regenerate a sweep's verdict, figures and tables from Parquet alone."""
    from orchestrator.cli.reporting import write_report

    others = tuple(compare or ())
    write_report(file, storage, _console(), metric, to, others, changes or ())


app.add_typer(exports.app)
app.add_typer(claims.app)
app.add_typer(rerun.app)
app.add_typer(commands.app)


def _show_config(file: Path, changes: Sequence[str] | None) -> None:
    from orchestrator.cli.tools.catalogue import print_plain
    from orchestrator.sweepfile.model import read_sweep
    from orchestrator.sweepfile.resolved import resolved_text

    print_plain(resolved_text(read_sweep(file, changes or ())).rstrip())


def main() -> None:
    """Run the command line.

    Wrong requests end with their message and exit code 2, a fault of our own with its traceback
    and exit code 70: a script must not take it for failed trials.
    """
    try:
        app()
    except (PruneCoreError, ResultsError, OrchestratorError) as error:
        shown = Console(stderr=True, emoji=False)
        shown.print(str(error), markup=False, highlight=False, soft_wrap=not shown.is_terminal)
        raise SystemExit(2) from None
    except Exception:
        raise crashed() from None
