"""``mrsweep report`` and ``export``: what came out of a sweep, from the tables alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

import results
from orchestrator.cli.request import open_sweep
from orchestrator.errors import RequestError
from results.report.export import benchmark_table
from results.report.page import make_report
from results.report.summary import Summary, summarise


def write_report(
    file: Path,
    storage: str,
    console: Console,
    metric: str | None = None,
    to: Path | None = None,
    compare: tuple[str, ...] = (),
    changes: Sequence[str] = (),
) -> None:
    """Write a sweep's report; print its verdict and where everything lies.

    Args:
        file: The sweep file.
        storage: The storage root with the sweep's tables.
        console: Where to print.
        metric: The metric that leads; the strongest attack's by default.
        to: Folder for the report; by default the sweep's own in the storage root.
        compare: Names of sweeps in the same storage root to set beside this one.
        changes: Settings of the file to change, each a ``section.key=value``.
    """
    plan, root = open_sweep(file, storage, changes)
    name = plan.sweep.name
    loaded = results.load(storage, name)
    with console.status("drawing the report"):
        summary = summarise(loaded, metric)
        others = tuple((other, summarise(results.load(storage, other))) for other in compare)
        files = make_report(summary, name, others)
    for path, data in files.items():
        if to is None:
            root.write(data, "sweeps", name, "report", *path.split("/"))
        else:
            (to / path).parent.mkdir(parents=True, exist_ok=True)
            (to / path).write_bytes(data)
    _print_verdict(summary, console)
    where = to if to is not None else f"{storage.rstrip('/')}/sweeps/{name}/report"
    console.print(f"\nReport:  {where}/index.html", highlight=False, soft_wrap=True)
    console.print(f"Tables:  {storage.rstrip('/')}/tables", highlight=False, soft_wrap=True)


def _print_verdict(summary: Summary, console: Console) -> None:
    console.print()
    for verdict in summary.verdicts[:1]:
        console.print(verdict.sentence, style="bold", highlight=False)
        console.print(verdict.robustness, highlight=False)
        if verdict.doubts:
            console.print(verdict.doubts, highlight=False)
    for part in summary.parts[:1]:
        console.print(part.sentence, style="bold", highlight=False)
    for caveat in summary.caveats:
        console.print(f"Note: {caveat}", highlight=False)


def export_trials(file: Path, to: Path, storage: str, kind: str, console: Console) -> None:
    """Write a sweep's trials as one file: ``csv``, ``json``, or rows of the ``benchmark``."""
    plan, _ = open_sweep(file, storage)
    trials = results.load(storage, plan.sweep.name).trials
    if kind == "benchmark":
        trials = benchmark_table(trials)
    try:
        if kind in ("csv", "benchmark"):
            trials.to_csv(to, index=False)
        else:
            trials.to_json(to, orient="records", date_format="iso", indent=1)
    except OSError as error:
        raise RequestError(f"{to} cannot be written: {error.strerror}") from error
    console.print(f"Rows written to {to}: {len(trials)}", highlight=False)
