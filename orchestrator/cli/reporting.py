"""``mrsweep report`` and ``export``: what came out of a sweep, from the tables alone."""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

import results
from orchestrator.cli.exports.boards import export_pruning, export_robustbench
from orchestrator.cli.request import open_sweep
from orchestrator.cli.selection import matching
from orchestrator.errors import RequestError
from results.report import drawn, ratios
from results.statistics.design.words import several
from results.tables.storage import Storage

if TYPE_CHECKING:
    from orchestrator.planning.plan import Plan
    from results.report.summary import Summary
    from results.tables.load import Loaded

SELDOM = 50_000
"""New objects after which Python looks for garbage; its own 700 cost a fifth of a report's time."""


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
    folder = root if to is None else Storage(str(to))
    place = ("sweeps", name, "report") if to is None else ()
    loaded = [results.load(storage, sweep) for sweep in (name, *compare)]
    with console.status("reading the tables"):
        digest = drawn.digest(loaded, metric)
    lines = _lines_of(folder, place, digest)
    if lines is None:
        from results.report.page import make_report  # imports what draws, which takes seconds
        from results.report.summary import summarise

        with console.status("drawing the report"), seldom_collected():
            summary, *others = (
                summarise(of, None if number else metric) for number, of in enumerate(loaded)
            )
            files = make_report(summary, name, tuple(zip(compare, others, strict=True)))
        for path, data in files.items():
            folder.write(data, *place, *path.split("/"))
        lines = _said(summary)
        record = {"digest": digest, "files": sorted(files), "lines": lines}
        folder.write(json.dumps(record, indent=1).encode(), *place, drawn.RECORD)
    console.print()
    for line, style in lines:
        console.print(line, style=style, highlight=False, markup=False)
    if said := _otherwise(plan, loaded[0]):
        console.print(f"Note: {said}", highlight=False, markup=False)
    where = to if to is not None else f"{storage.rstrip('/')}/sweeps/{name}/report"
    console.print(f"\nReport:  {where}/index.html", highlight=False, soft_wrap=True)
    console.print(f"Tables:  {storage.rstrip('/')}/tables", highlight=False, soft_wrap=True)


def _otherwise(plan: Plan, loaded: Loaded) -> str:
    """Say where a sweep file plans other trials than its last run did; nothing if it does not."""
    ran = set() if loaded.plan is None else set(loaded.plan["trial_id"])
    if not ran or ran == plan.trials.keys():
        return ""
    return (
        f"this is of the {several(len(ran), 'trial')} of its last run. By the file, and this "
        f"version, it has {several(len(plan.trials), 'trial')} now, "
        f"{len(plan.trials.keys() & ran)} of them the same: `mrsweep run` runs the others."
    )


@contextlib.contextmanager
def seldom_collected() -> Iterator[None]:
    """Have Python look for garbage seldom: a figure is a great many objects, in use until saved.

    What there is already is not looked at; after a run that is all of torch.
    """
    usual = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(SELDOM, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()


Lines = list[tuple[str, str | None]]
"""What is printed, each line with its style."""


def _lines_of(folder: Storage, place: tuple[str, ...], digest: str) -> Lines | None:
    """Return what an earlier report of the same rows printed, if all of it is still there."""
    data = folder.read(*place, drawn.RECORD)
    record = json.loads(data) if data else {}
    if record.get("digest") != digest:
        return None
    if not folder.sizes(*place).keys() >= set(record["files"]):
        return None
    return [(line, style) for line, style in record["lines"]]


def _said(summary: Summary) -> Lines:
    lines: Lines = []
    trials, metric = summary.evidence.trials, summary.evidence.metric
    if ratios.question(trials) == ratios.OF_RATIOS:
        added = ratios.against_uniform(summary.tables.get("adaptive_ratios"), metric)
        lines += [(one, "bold") for one in [ratios.answer(added)] if one]
    for verdict in summary.verdicts[:1]:
        lines.append((verdict.sentence, "bold"))
        lines += [(said, None) for said in (verdict.robustness, verdict.doubts) if said]
    lines += [
        (f"On {name} alone: {verdicts[0].finding[:1].lower()}{verdicts[0].finding[1:]}", None)
        for name, verdicts in summary.evidence.by_dataset.items()
        if verdicts
    ]
    lines += [(part.sentence, "bold") for part in summary.parts[:1]]
    return lines + [(f"Note: {caveat}", None) for caveat in summary.caveats]


def export_trials(
    file: Path, to: Path, storage: str, kind: str, select: str, key: str, console: Console
) -> None:
    """Write trials as one file, ``csv`` or ``json``, or as a folder for a board.

    Args:
        file: The sweep file.
        to: The file or folder to write.
        storage: The storage root.
        kind: ``csv``, ``json``, ``apb`` or ``robustbench``.
        select: Factor levels of the trials; all where it is empty.
        key: The method's key on the adversarial pruning benchmark.
        console: Where to print.
    """
    plan, root = open_sweep(file, storage)
    jobs = matching(select, plan)
    if kind == "apb":
        export_pruning(plan, root, jobs, to, key, console)
        return
    if kind == "robustbench":
        export_robustbench(plan, root, jobs, to, console)
        return
    trials = results.load(storage, plan.sweep.name).trials
    trials = trials[trials["trial_id"].isin([job.key for job in jobs])]
    try:
        if kind == "csv":
            trials.to_csv(to, index=False)
        else:
            trials.to_json(to, orient="records", date_format="iso", indent=1)
    except OSError as error:
        raise RequestError(f"{to} cannot be written: {error.strerror}") from error
    console.print(f"Rows written to {to}: {len(trials)}", highlight=False)
