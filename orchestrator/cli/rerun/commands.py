"""The commands that let others do a sweep again; they only parse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import (
    Changes,
    Device,
    File,
    NetworkStage,
    StorageRoot,
    console,
    examples,
)

app = typer.Typer()


@app.command(
    epilog=examples(
        "bundle demo.yaml --to demo.zip",
        "bundle demo.yaml --to out --creator 'Ada Lovelace' --license CC-BY-4.0",
        "bundle demo.yaml --to out --network finetuned --select criterion=l1,seed=0",
    )
)
def bundle(
    file: File,
    changes: Changes = None,
    to: Annotated[Path, typer.Option(help="The folder or .zip to write.")] = Path("bundle.zip"),
    storage: StorageRoot = "runs",
    creator: Annotated[
        list[str] | None, typer.Option(help="Who made the results; may be repeated.")
    ] = None,
    license: Annotated[  # noqa: A002 - the option's name
        str, typer.Option(help="SPDX identifier of the results' licence, such as CC-BY-4.0.")
    ] = "",
    network: Annotated[
        list[NetworkStage] | None,
        typer.Option(help="Networks of the selected trials that come along; may be repeated."),
    ] = None,
    select: Annotated[
        str, typer.Option(help="Trials whose networks these are, such as criterion=l1,seed=0.")
    ] = "",
    device: Device = "auto",
) -> None:
    """Write a sweep's results as a folder or zip for an archive, ready to be done again."""
    from orchestrator.cli.rerun.bundling import How, write_bundle

    wanted = tuple(each.value for each in network or ())
    how = How(tuple(creator or ()), license, wanted, select, device)
    write_bundle(file, to, storage, how, changes or (), console())


@app.command(
    epilog=examples(
        "reproduce demo.zip",
        "reproduce demo.zip --trial 0123456789abcdef0123",
        "reproduce demo.zip --verdict-only",
    )
)
def reproduce(
    bundle: Annotated[Path, typer.Argument(help="A bundle, as mrsweep bundle writes it.")],
    trial: Annotated[
        str | None, typer.Option(help="The trial's id; without it, one is drawn.")
    ] = None,
    seed: Annotated[int, typer.Option(help="By which a trial is drawn.")] = 0,
    device: Device = "auto",
    verdict_only: Annotated[
        bool, typer.Option("--verdict-only", help="Compute no trial; without torch.")
    ] = False,
) -> None:
    """Do one trial of a bundle again, and its verdict; exit code 0, 3 (within tolerance) or 1."""
    from orchestrator.cli.rerun import reproducing

    how = reproducing.How(trial, seed, device, verdict_only)
    raise typer.Exit(int(reproducing.reproduce(bundle, how, console())))


@app.command(epilog=examples("paper demo.yaml", "paper demo.yaml --to checklist.tex"))
def paper(
    file: File,
    changes: Changes = None,
    to: Annotated[
        Path | None, typer.Option(help="The .tex or .md to write; without it, it is printed.")
    ] = None,
    storage: StorageRoot = "runs",
) -> None:
    """Write a paper's words on compute, seeds, splits, intervals, and NeurIPS's checklist."""
    from orchestrator.cli.rerun.writing import write_paper

    write_paper(file, storage, to, changes or (), console())
