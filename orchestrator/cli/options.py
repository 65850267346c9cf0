"""What commands have in common: their options, and how their help is written."""

from __future__ import annotations

import shlex
import sys
import traceback
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

File = Annotated[Path, typer.Argument(help="The sweep file, such as demo.yaml.")]
StorageRoot = Annotated[
    str, typer.Option("--storage", help="Folder or URI that holds artifacts, tables and reports.")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Patience = Annotated[
    float, typer.Option(min=0, help="Minutes to wait for storage or nodes that are gone.")
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Try failed trials once more.")]


Changes = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings of the file to change, such as threat.eps=4/255 seeds=5 name=mine.",
    ),
]


class Show(StrEnum):
    """What may be shown in place of running."""

    config = "config"


ShowOption = Annotated[
    Show | None, typer.Option("--show", help="config: the sweep with every default written out.")
]


class Executor(StrEnum):
    """What runs the jobs."""

    ray = "ray"
    inline = "inline"


Workers = Annotated[
    int | None, typer.Option(min=1, help="Jobs at once on this machine; by default all cores.")
]
Address = Annotated[str | None, typer.Option(help="A Ray cluster to join: auto, or HOST:PORT.")]
Runner = Annotated[
    Executor, typer.Option(help="ray, or inline: one job after the other, in this process.")
]


class Logger(StrEnum):
    """Trackers that can show done trials."""

    tensorboard = "tensorboard"
    wandb = "wandb"
    mlflow = "mlflow"


class NetworkFormat(StrEnum):
    """Formats of a network."""

    safetensors = "safetensors"
    onnx = "onnx"
    torch_export = "torch-export"
    hf = "hf"


class NetworkStage(StrEnum):
    """Which of a trial's networks."""

    dense = "dense"
    pruned = "pruned"
    finetuned = "finetuned"


class Masks(StrEnum):
    """What becomes of masks, and of channels that were removed."""

    kept = "kept"
    merged = "merged"
    filled = "filled"


class Format(StrEnum):
    """Formats of an export."""

    csv = "csv"
    json = "json"
    apb = "apb"
    robustbench = "robustbench"


class Commands(TyperGroup):
    """The commands; their summaries are shown whole, and wrapped where the terminal ends."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write every command with the first sentence of its help."""
        shown = {name: self.commands[name] for name in self.list_commands(ctx)}
        rows = [(name, summary(each.help)) for name, each in shown.items() if not each.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def console() -> Console:
    """Return where commands print: text is wrapped between words on a terminal, never in a file.

    What stands in brackets or between colons is text: levels, methods and places have some.
    """
    terminal = sys.stdout.isatty()
    width = None if terminal else 140
    return Console(soft_wrap=not terminal, width=width, markup=False, emoji=False)


def line(verb: str, file: Path, changes: Sequence[str], storage: str, *more: str) -> str:
    """Return a command to give next, on the same sweep, as a shell takes it."""
    at = () if storage == "runs" else ("--storage", storage)
    return shlex.join(["mrsweep", verb, str(file), *changes, *at, *more])


def summary(text: str | None) -> str:
    """Return the first sentence of a help text."""
    return (text or "").partition("\n\n")[0].replace("\n", " ").partition(". ")[0].rstrip(".") + "."


OWN_FAULT = 70
"""The exit code of a fault of our own, as sysexits.h has it: not that of failed trials."""
EXIT_CODES = {
    0: "all is done",
    1: "trials failed or are left, or a check found faults",
    2: "the request was wrong, and nothing was run",
    3: "reproduce: within tolerance, not the same to the bit",
    OWN_FAULT: "a fault of mrsweep's own; its traceback is shown",
    130: "stopped by Ctrl-C",
}
ENVIRONMENT = {
    "MRSWEEP_CACHE": "folder of decoded images; by default ~/.cache/mrsweep",
    "NO_COLOR": "set to anything: no colours",
    "PYTHONPATH": "folders of methods of your own, beside this one",
    "CUDA_VISIBLE_DEVICES": "GPUs that may be used",
    "RAY_AUTH_TOKEN_PATH": "token of the Ray cluster that --address names",
    "RAY_TMPDIR": "where Ray's scratch files go; by default /tmp",
}
"""Variables that change what commands do."""


def examples(*lines: str) -> str:
    """Return the end of a command's help: its examples, one a line."""
    return "\n".join(["\b", "Examples:", *(f"  mrsweep {line}" for line in lines)])


def closing() -> str:
    """Return the end of the help of all commands: exit codes and environment variables."""
    width = max(map(len, ENVIRONMENT)) + 2
    codes = [f"  {code:<{width}}{said}" for code, said in EXIT_CODES.items()]
    variables = [f"  {name:<{width}}{said}" for name, said in ENVIRONMENT.items()]
    return "\n".join(["\b", "Exit codes:", *codes, "", "\b", "Environment:", *variables])


def crashed() -> SystemExit:
    """Show the error that is being handled as a fault of our own; return the exit that follows."""
    traceback.print_exc()
    sys.stderr.write(
        "This is a fault of mrsweep itself; finished work is kept. Please report it with the lines "
        "above.\n"
    )
    return SystemExit(OWN_FAULT)
