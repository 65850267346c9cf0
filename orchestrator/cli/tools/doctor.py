"""What the doctor prints: a line for each part, and how to mend what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.cli.tools import probes
from orchestrator.errors import OrchestratorError
from orchestrator.sweepfile.model import read_sweep
from prune_core.errors import PruneCoreError
from results.errors import ResultsError


def examine(
    file: Path | None, root: str, device: str, address: str | None, console: Console
) -> bool:
    """Try every part once and say what was found; return whether nothing is wrong.

    Args:
        file: The sweep whose images are read, if any.
        root: The storage root.
        device: What to compute on.
        address: A Ray cluster to join; without one, Ray is started here.
        console: Where to print.
    """
    sweep = read_sweep(file) if file else None
    parts: dict[str, Callable[[], str]] = {
        "versions": probes.versions,
        "device": lambda: probes.device(device),
        "data": lambda: probes.data(sweep),
        "storage": lambda: probes.storage(root),
        "cluster": lambda: probes.cluster(address),
    }
    wrong = [name for name, probe in parts.items() if not _tried(name, probe, console)]
    said = f"Wrong: {', '.join(wrong)}." if wrong else "All is well."
    console.print(said, highlight=False)
    return not wrong


def _tried(name: str, probe: Callable[[], str], console: Console) -> bool:
    """Try one part, and print how it is."""
    mend = ""
    try:
        with console.status(f"trying {name}"):
            found = probe()
    except probes.ProbeError as error:
        found, mend = str(error), error.mend
    except (OrchestratorError, PruneCoreError, ResultsError, ImportError, OSError) as error:
        found, mend = str(error), "see the message; docs/cluster.md says what each part needs"
    mark = "wrong" if mend else "ok"
    told = Table.grid(padding=(0, 1))
    told.add_row(f"{name:<9}", f"{mark:<6}", Text(found))
    if mend:
        told.add_row("", "mend", Text(mend))
    console.print(told, highlight=False)
    return not mend
