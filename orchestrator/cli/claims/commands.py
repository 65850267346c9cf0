"""The commands of claims, parsed; each imports what it needs when it is called."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import (
    Address,
    Changes,
    Device,
    Executor,
    RetryFailed,
    Runner,
    StorageRoot,
    Workers,
    console,
    examples,
)
from orchestrator.errors import RequestError
from orchestrator.sweepfile.tried import Kind


class Step(StrEnum):
    """What to do with a claim."""

    plan = "plan"
    run = "run"
    certificate = "certificate"


app = typer.Typer()


@app.command(
    epilog=examples(
        "claim claims/mrs-over-uniform.yaml", "claim claims/mrs-over-uniform.yaml run --workers 2"
    )
)
def claim(
    file: Annotated[Path, typer.Argument(help="The claim file, such as claims/mrs.yaml.")],
    step: Annotated[
        Step,
        typer.Argument(
            help="plan: what it takes; run: register it, run it by its design, write the "
            "certificate; certificate: write it from what is there."
        ),
    ] = Step.plan,
    storage: StorageRoot = "runs",
    to: Annotated[
        Path | None, typer.Option(help="The certificate; beside the claim file by default.")
    ] = None,
    workers: Workers = None,
    address: Address = None,
    executor: Runner = Executor.ray,
    device: Device = "auto",
) -> None:
    """Register a claim, decide it by a design written down beforehand, certify the outcome."""
    from orchestrator.cli.claims import claiming
    from orchestrator.cli.running import How

    how = How(workers, address, executor.value, device)
    to = to or file.parent / f"{file.stem}.json"
    if step is not Step.plan and to.resolve() == file.resolve():
        raise RequestError(f"the certificate would be written over the claim, {file}: give --to")
    done = {
        Step.plan: lambda: claiming.show(file, storage, console()),
        Step.run: lambda: claiming.run(file, storage, how, to, console()),
        Step.certificate: lambda: claiming.certify(file, storage, to, console()),
    }[step]()
    raise typer.Exit(0 if done else 1)


@app.command(epilog=examples("verify claims/mrs-over-uniform.json runs"))
def verify(
    certificate: Annotated[Path, typer.Argument(help="A certificate, as mrsweep claim writes it.")],
    tables: Annotated[str, typer.Argument(help="The storage root, or a copy of its tables.")],
) -> None:
    """Derive a certificate again from Parquet alone and say what differs; exit code 1 if so."""
    from orchestrator.cli.claims.verifying import verify_certificate

    if not verify_certificate(certificate, tables, console()):
        raise typer.Exit(1)


@app.command(
    "try",
    epilog=examples(
        "try my_package.scores:mine --study studies/cifar10-small --sweep cifar10-first",
        "try my_package.losses:mine --as objective --study studies/mine --dry-run",
    ),
)
def try_(
    name: Annotated[str, typer.Argument(help="The method, such as my_package.scores:mine.")],
    changes: Changes = None,
    study: Annotated[Path, typer.Option(help="The study's folder.")] = Path(),
    kind: Annotated[Kind, typer.Option("--as", help="What the method is.")] = Kind.criterion,
    sweep: Annotated[
        str | None, typer.Option(help="Which of the study's sweeps, where it has several.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="What is compared; the strongest attack's by default.")
    ] = None,
    storage: StorageRoot = "runs",
    workers: Workers = None,
    address: Address = None,
    executor: Runner = Executor.ray,
    device: Device = "auto",
    retry_failed: RetryFailed = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would cost, and no more.")
    ] = False,
) -> None:
    """Run a new method beside a study's, at equal budgets, and say where it stands."""
    from orchestrator.cli.claims.trying import try_method
    from orchestrator.cli.running import How

    how = How(workers, address, executor.value, device, retry_failed, changes=tuple(changes or ()))
    told = try_method(name, study, kind, sweep, storage, metric, how, dry_run, console())
    raise typer.Exit(0 if told else 1)
