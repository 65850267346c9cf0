"""The commands of claims, parsed; each imports what it needs when it is called."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import (
    Address,
    Device,
    Executor,
    Runner,
    StorageRoot,
    Workers,
    console,
    examples,
)


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
    to = to or file.with_suffix(".json")
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
