"""``mrsweep network``: a network of a sweep as a file that others read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from orchestrator.cli.request import open_sweep
from orchestrator.cli.selection import matching
from orchestrator.errors import RequestError
from orchestrator.worker import networks
from orchestrator.worker.device import device_name, resolve_device
from orchestrator.worker.provenance import provenance
from prune_core.exports import formats, latency
from prune_core.specs.stages import Trial
from results.tables.store import Tables

MOST_DIFFERING = 0.002
"""Share of test images that rounding may turn, on another device or in another runtime."""


@dataclass(frozen=True)
class How:
    """How a network is written: the options of the command."""

    stage: str
    to: str
    masks: str
    device: str
    verify: bool
    latency: bool


def write_network(
    file: Path, folder: Path, select: str, storage: str, how: How, console: Console
) -> None:
    """Write a network of the first trial that matches, and say what is in the file.

    Raises:
        RequestError: No trial matches, or with ``verify`` the file is not what the row says.
        ExportError: It cannot be written so.
    """
    plan, root = open_sweep(file, storage)
    jobs = matching(select, plan)
    trial = jobs[0].stage
    if not isinstance(trial, Trial):
        raise RequestError(f"{jobs[0].key} is no trial")
    if len(jobs) > 1:
        console.print(f"{len(jobs)} trials match; this is the first of them: {trial.key}")
    row = (Tables(root).find("trials", trial.key) or [{}])[0]
    if not row:
        console.print(f"Note: trial {trial.key} has not run; its networks are computed now.")
    device = resolve_device(how.device)
    with console.status(f"the {how.stage} network of trial {trial.key}"):
        found = networks.found(root, trial, how.stage, device, row, how.masks)
        written = formats.write(found.network, found.description, how.to, folder)
    size = written.stat().st_size
    console.print(f"{how.stage} network of trial {trial.key} written to {written}: {size:,} bytes")
    if how.verify:
        read = formats.FORMATS[how.to].read
        apart, count = networks.differing(root, trial, how.stage, read(written))
        console.print(f"Of {count} test images, {apart} differ from the row of the evaluation.")
        if apart > MOST_DIFFERING * count:
            raise RequestError(f"{written} is not the network that was evaluated")
    if how.latency:
        _print_latency(found, device, console)


def _print_latency(found: networks.Found, device: str, console: Console) -> None:
    on = device_name(device) or f"{provenance(device)['processor']}, one core"
    network = found.network.to(torch.device(device))
    for each in latency.measure(network, found.description.shape):
        console.print(
            f"batch {each.batch}: {1000 * each.seconds:.3f} ms, {each.images_per_second:,.0f} "
            f"images/s (median of {each.runs} runs on {on})",
            highlight=False,
        )
