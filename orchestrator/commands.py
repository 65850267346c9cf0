"""What the commands do; the command line in `orchestrator.cli` only parses.

Imports wait until a command needs them: plan, status and report start without torch and ray.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from orchestrator.plan import Plan, make_plan
from orchestrator.sweepfile import FACTOR_FIELDS, Sweep, SweepFileError, read_sweep
from prune_core.registry import AXES, UnknownMethodError

if TYPE_CHECKING:
    from results.storage import Storage

KINDS = ("dense", "rewind", "sensitivity", "scores", "prune", "trial")


class RequestError(ValueError):
    """A request that cannot be met; the message says what would be."""


def wrong_requests() -> tuple[type[Exception], ...]:
    """Return the errors that mean a wrong request, not a fault of ours."""
    from orchestrator.launch import ResourceError
    from results.design import AnalysisError
    from results.storage import StorageError
    from results.store import TableError

    found: list[type[Exception]] = [SweepFileError, UnknownMethodError, RequestError]
    found += [AnalysisError, StorageError, TableError, ResourceError]
    if "orchestrator.jobs" in sys.modules:
        from orchestrator.jobs import DeviceError

        found.append(DeviceError)
    return tuple(found)


def plan(file: Path, storage: str, console: Console) -> None:
    """Show the plan of a sweep against what storage holds."""
    from orchestrator.survey import survey

    sweep, planned, root = _open(file, storage)
    state = survey(planned, root)
    factors = {**sweep.factors(), "seed": sweep.seeds}
    shape = " x ".join(f"{len(levels)} {name}" for name, levels in factors.items())
    console.print(f"{sweep.name}: {len(planned.trials)} trials ({shape})", highlight=False)
    table = Table(box=None, pad_edge=False)
    for name in ("jobs", "planned", "left", "hours left"):
        table.add_column(name, justify="left" if name == "jobs" else "right")
    total = Counter(job.kind for job in planned.jobs.values())
    left = Counter(planned.jobs[key].kind for key in state.needed)
    seconds = _seconds_left(planned, state.needed, root)
    for kind in KINDS:
        cost = "unknown" if seconds.get(kind) is None else f"{(seconds[kind] or 0) / 3600:.3f}"
        table.add_row(kind, str(total[kind]), str(left[kind]), cost if left[kind] else "0")
    console.print(table)
    if state.failed:
        console.print(f"{len(state.failed)} trials failed before: --retry-failed tries them again")
    if any(seconds.get(kind) is None for kind in KINDS if left[kind]):
        console.print("Hours are device-hours, at the rates of earlier jobs in this storage.")


def _seconds_left(planned: Plan, needed: tuple[str, ...], root: Storage) -> dict[str, float | None]:
    """Estimate device-seconds by kind from the jobs that storage has rows of; None if it has none.

    Rates are by kind and architecture where such jobs ran, by kind alone where not.
    """
    from results.store import Tables

    jobs = Tables(root).read("jobs", ["kind", "architecture", "status", "start", "end"])
    jobs = jobs[jobs["status"] == "done"]
    seconds = (jobs["end"] - jobs["start"]).dt.total_seconds()
    exact = seconds.groupby([jobs["kind"], jobs["architecture"]]).mean().to_dict()
    rough = seconds.groupby(jobs["kind"]).mean().to_dict()
    found: dict[str, float | None] = {}
    for key in needed:
        job = planned.jobs[key]
        rate = exact.get((job.kind, job.architecture), rough.get(job.kind))
        before = found.get(job.kind, 0.0)
        found[job.kind] = None if rate is None or before is None else before + rate
    return found


def run(
    file: Path,
    storage: str,
    workers: int | None,
    address: str | None,
    executor: str,
    device: str,
    retry_failed: bool,
    console: Console,
) -> bool:
    """Run what is left of a sweep and report; return whether every trial is done."""
    from orchestrator import execution
    from orchestrator.launch import Launch
    from orchestrator.progress import Display
    from orchestrator.survey import survey
    from results.storage import StorageIOError

    sweep, planned, root = _open(file, storage)
    display = Display(planned, console)
    started = Launch(planned, root, device, display, retry_failed)
    state = started.state
    display.tally.expect(state.needed, len(state.done), len(state.failed) * (not retry_failed))
    if state.needed:
        _check_methods(sweep, address, console)
    if state.needed and address is None:  # a cluster's devices are its nodes'
        from orchestrator.jobs import resolve_device

        started.device = resolve_device(device)
    try:
        execution.record_plan(planned, root, file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RequestError(f"storage root {storage!r} cannot be written: {error}") from error
    console.print(
        f"{sweep.name}: {len(planned.trials)} trials, {len(state.done)} done before, "
        f"{len(state.needed)} jobs to do",
        highlight=False,
    )
    if state.needed:
        try:
            with display:
                execution.run(started, executor, workers, address, display.stopping)
        except StorageIOError as error:
            raise RequestError(
                f"storage root {storage!r} failed: {error}; what is finished is kept, and the same "
                "command goes on with the rest"
            ) from error
    after = survey(planned, root)
    if after.done:
        report(file, storage, None, None, console)
    else:
        console.print("No trial is done, so there is nothing to report.")
    left = len(planned.trials) - len(after.done) - len(after.failed)
    if after.failed:
        console.print(f"{len(after.failed)} trials failed: mrsweep status {file} says why")
    if left:
        console.print(f"{left} trials are left: the same command goes on with them")
    return not after.failed and not left


def trial(file: Path, select: str, storage: str, device: str, console: Console) -> bool:
    """Run one trial in this process; return whether it is done."""
    from orchestrator.execution import record_plan
    from orchestrator.inline import execute_path
    from orchestrator.jobs import resolve_device
    from results.store import Tables

    sweep, planned, root = _open(file, storage)
    wanted = _selection(select, sweep)
    matching = [
        job
        for job in planned.trials.values()
        if all(str((job.labels or {})[name]) == level for name, level in wanted.items())
    ]
    if not matching:
        raise RequestError(f"no trial of {sweep.name} matches {select!r}")
    job = matching[0]
    _check_methods(sweep, None, console)
    if len(matching) > 1:
        console.print(f"{len(matching)} trials match; this is the first of them")
    device = resolve_device(device)
    record_plan(planned, root, file.read_text(encoding="utf-8"))
    with console.status(f"{job.kind} {job.key}"):
        execute_path(planned, job.key, root, device)
    row = (Tables(root).find("trials", job.key) or [{}])[0]
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in row.items():
        if value is not None:
            table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    console.print(table)
    return bool(row.get("status") == "done")


def _selection(select: str, sweep: Sweep) -> dict[str, str]:
    levels = {**sweep.factors(), "seed": sweep.seeds}
    found: dict[str, str] = {}
    for part in filter(None, select.split(",")):
        name, _, level = part.partition("=")
        if name not in levels:
            known = ", ".join([*FACTOR_FIELDS, "seed"])
            raise RequestError(f"--select: no factor {name!r}; there are: {known}")
        known_levels = [str(known) for known in levels[name]]
        if level not in known_levels:
            raise RequestError(
                f"--select: {name} has no level {level!r}; it has: {', '.join(known_levels)}"
            )
        found[name] = level
    return found


def status(file: Path, storage: str, console: Console) -> None:
    """Show how far a sweep is, from the tables alone."""
    from orchestrator.survey import survey
    from results.store import Tables

    sweep, planned, root = _open(file, storage)
    state = survey(planned, root)
    total = len(planned.trials)
    left = total - len(state.done) - len(state.failed)
    console.print(
        f"{sweep.name}: {total} trials: {len(state.done)} done, {len(state.failed)} failed, "
        f"{left} left",
        highlight=False,
    )
    jobs = Tables(root).read("jobs", ["key", "start", "end"])
    jobs = jobs[jobs["key"].isin(set(planned.jobs))]
    if len(jobs):
        last = jobs["end"].max()
        recent = int((jobs["end"] > last - timedelta(hours=1)).sum())
        console.print(f"last job ended {last:%Y-%m-%d %H:%M:%S} UTC; {recent} in the hour before")
    failed = [key for key in planned.trials if key in state.failed]
    reasons = Counter(
        str((Tables(root).find("trials", key) or [{}])[0].get("error")) for key in failed
    )
    for error, count in reasons.most_common():
        console.print(f"{count} failed: {error}", markup=False, highlight=False)


def report(file: Path, storage: str, metric: str | None, to: Path | None, console: Console) -> None:
    """Write a sweep's report; print its verdict and where it lies."""
    import results
    from results.report import make_report
    from results.summary import summarise

    sweep, _, root = _open(file, storage)
    loaded = results.load(storage, sweep.name)
    with console.status("drawing the report"):
        summary = summarise(loaded, metric)
        files = make_report(summary, sweep.name)
    for name, data in files.items():
        if to is None:
            root.write(data, "sweeps", sweep.name, "report", name)
        else:
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            (to / name).write_bytes(data)
    console.print()
    for found in summary.verdicts[:1]:
        console.print(found.sentence, style="bold", highlight=False)
        console.print(found.robustness, highlight=False)
        if found.doubts:
            console.print(found.doubts, highlight=False)
    for part in summary.parts[:1]:
        console.print(part.sentence, style="bold", highlight=False)
    for caveat in summary.caveats:
        console.print(f"Note: {caveat}", highlight=False)
    where = to if to is not None else f"{storage.rstrip('/')}/sweeps/{sweep.name}/report"
    console.print(f"\nReport:  {where}/index.html", highlight=False, soft_wrap=True)
    console.print(f"Tables:  {storage.rstrip('/')}/tables", highlight=False, soft_wrap=True)


def list_axis(axis: str, names: bool, console: Console) -> None:
    """List the methods of one axis, or what axes there are."""
    if axis not in AXES:
        known = ", ".join(AXES)
        if axis:
            raise RequestError(f"no axis {axis!r}; there are: {known}")
        console.print(f"Axes: {known}", highlight=False)
        return
    methods = AXES[axis].methods
    if names:
        for name in methods:
            print(name)  # noqa: T201 - for scripts: no styling, no wrapping
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "what it is", "needs", "source"):
        table.add_column(heading, overflow="fold")
    for name, found in methods.items():
        needs = [*found.needs, *(["(channels only)"] if "channels" in found.traits else [])]
        table.add_row(name, found.summary, ", ".join(needs), found.source)
    console.print(table, highlight=False)


def schema(tables: bool) -> None:
    """Print the JSON Schema of sweep files, or the tables' columns as Markdown."""
    if not tables:
        print(json.dumps(Sweep.model_json_schema(), indent=2))  # noqa: T201 - machine-readable output
        return
    from results.schema import tables_markdown

    print(tables_markdown())  # noqa: T201 - machine-readable output


def compact(storage: str, console: Console) -> None:
    """Compact every table."""
    from results.schema import TABLES
    from results.storage import Storage
    from results.store import Tables

    root = Storage(storage)
    root.check()
    for table in TABLES:
        joined = Tables(root).compact(table)
        console.print(f"{table}: {joined} files joined" if joined else f"{table}: nothing to do")


def export(file: Path, to: Path, storage: str, kind: str, console: Console) -> None:
    """Write a sweep's trials as one file."""
    import results

    sweep, _, _ = _open(file, storage)
    trials = results.load(storage, sweep.name).trials
    try:
        if kind == "csv":
            trials.to_csv(to, index=False)
        else:
            trials.to_json(to, orient="records", date_format="iso", indent=1)
    except OSError as error:
        raise RequestError(f"{to} cannot be written: {error.strerror}") from error
    console.print(f"{len(trials)} trials written to {to}", highlight=False)


def _open(file: Path, storage: str) -> tuple[Sweep, Plan, Storage]:
    """Check a sweep file and a storage root, and report the faults of both together."""
    from results.storage import Storage, StorageError

    faults: list[str] = []
    try:
        sweep = read_sweep(file)
    except SweepFileError as error:
        faults += error.faults
    try:
        root = Storage(storage)
        root.check()
    except StorageError as error:
        faults.append(str(error))
    if faults:
        raise SweepFileError(faults)
    return sweep, make_plan(sweep), root


def _check_methods(sweep: Sweep, address: str | None, console: Console) -> None:
    """Refuse what cannot be read or built before work starts, all faults together.

    On a cluster the images lie on its nodes, so only the networks are looked at. Images read here
    are decoded for the workers too.
    """
    from prune_core import datasets
    from prune_core.readers import DatasetError
    from prune_core.stems import check_name

    faults = [fault for name in sweep.architectures if (fault := check_name(name))]
    folder = sweep.dataset.root
    if folder is not None and address is None and not Path(folder).is_dir():
        faults.append(f"dataset.root {folder!r} is no folder; give the one with the images")
    elif address is None:
        try:
            with console.status(f"reading {sweep.dataset.name}"):
                datasets.read(sweep.dataset)
        except DatasetError as error:
            faults.append(f"dataset: {error}")
    if faults:
        raise RequestError("\n".join(faults))
