"""The commands that write what others read; they only parse, as ``orchestrator.cli.main`` does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import (
    Device,
    File,
    Format,
    Masks,
    NetworkFormat,
    NetworkStage,
    StorageRoot,
    console,
    examples,
)

app = typer.Typer()


@app.command(
    epilog=examples(
        "export demo.yaml --to trials.csv",
        "export mine.yaml --to out --format apb --key AP_Me2026Title --select criterion=l1,seed=0",
    )
)
def export(
    file: File,
    to: Annotated[Path, typer.Option(help="The file to write, or a board's folder.")],
    storage: StorageRoot = "runs",
    format: Annotated[  # noqa: A002 - the option's name
        Format,
        typer.Option(help="csv, json, or a board's: apb (its benchmark), robustbench."),
    ] = Format.csv,
    select: Annotated[
        str, typer.Option(help="Factor levels, such as criterion=l1,seed=0; else all trials.")
    ] = "",
    key: Annotated[
        str, typer.Option(help="apb: the method's key, such as HYDRA_Sehwag2020Hydra.")
    ] = "",
) -> None:
    """Write a sweep's trials as one CSV or JSON file, or as a submission to a leaderboard."""
    from orchestrator.cli.reporting import export_trials

    export_trials(file, to, storage, format.value, select, key, console())


@app.command(epilog=examples("network demo.yaml out --select seed=0 --to onnx --verify"))
def network(
    file: File,
    folder: Annotated[Path, typer.Argument(help="Where to write it; it is made.")],
    select: Annotated[
        str, typer.Option(help="Factor levels, such as criterion=l1,sparsity=0.5,seed=0.")
    ] = "",
    stage: Annotated[
        NetworkStage, typer.Option(help="Of a trial's networks.")
    ] = NetworkStage.finetuned,
    to: Annotated[
        NetworkFormat, typer.Option(help="hf: a folder that the Hugging Face Hub takes.")
    ] = NetworkFormat.safetensors,
    masks: Annotated[
        Masks, typer.Option(help="kept; merged into weights; filled: removed channels as zeros too")
    ] = Masks.merged,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read it back; compare it with the row by image.")
    ] = False,
    latency: Annotated[
        bool, typer.Option("--latency", help="Measure it, for batches of 1 and 128.")
    ] = False,
    storage: StorageRoot = "runs",
    device: Device = "auto",
) -> None:
    """Write a network of the first trial that matches as a file, for others to load."""
    from orchestrator.cli.exports.network import How, write_network

    how = How(stage.value, to.value, masks.value, device, verify, latency)
    write_network(file, folder, select, storage, how, console())
