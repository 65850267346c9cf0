"""What the commands do; the command line in `orchestrator.cli.main` only parses.

Imports wait until a command needs them: plan, status and report start without torch and ray.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from orchestrator.planning.plan import Plan, make_plan
from orchestrator.state import maintenance as housekeeping
from orchestrator.sweepfile.model import FACTOR_FIELDS, Sweep, SweepFileError, read_sweep
from prune_core.errors import DatasetError, UnknownMethodError
from prune_core.specs.registry import AXES

if TYPE_CHECKING:
    from orchestrator.driver.launch import Progress
    from results.tables.storage import Storage


class RequestError(ValueError):
    """A request that cannot be met; the message says what would be."""


def wrong_requests() -> tuple[type[Exception], ...]:
    """Return the errors that mean a wrong request, not a fault of ours."""
    from orchestrator.cli.trackers import TrackerError
    from orchestrator.driver.launch import ResourceError
    from results.errors import AnalysisError, StorageError, TableError

    found: list[type[Exception]] = [SweepFileError, UnknownMethodError, RequestError]
    found += [AnalysisError, StorageError, TableError, ResourceError, TrackerError]
    if "orchestrator.worker.job" in sys.modules:
        from orchestrator.worker.job import DeviceError

        found.append(DeviceError)
    return tuple(found)


def plan(file: Path, storage: str, console: Console) -> None:
    """Show the plan of a sweep against what storage holds."""
    from orchestrator.cli.status import show_plan
    from orchestrator.state.survey import survey

    _, planned, root = _open(file, storage)
    show_plan(planned, root, survey(planned, root), console)


@dataclass(frozen=True)
class How:
    """How a sweep is to be run."""

    workers: int | None = None
    address: str | None = None
    executor: str = "ray"
    device: str = "auto"
    retry_failed: bool = False
    tracker: str | None = None
    log: Path | None = None


def run(file: Path, storage: str, how: How, console: Console) -> bool:
    """Run what is left of a sweep and report; return whether every trial is done."""
    from orchestrator.state.survey import survey
    from results.errors import StorageIOError

    _, planned, root = _open(file, storage)
    try:
        while (going_on := _run_left(file, planned, root, how, console)) is not None:
            planned = going_on
        after = survey(planned, root)
        housekeeping.tidy(root, console)
    except StorageIOError as error:
        raise RequestError(
            f"storage root {storage!r} failed: {error}; what is finished is kept, and the same "
            "command goes on with the rest"
        ) from error
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


def _run_left(file: Path, planned: Plan, root: Storage, how: How, console: Console) -> Plan | None:
    """Run what is left of a plan; return one with more seeds where the sweep asks for them."""
    from orchestrator.cli.listeners import Several
    from orchestrator.cli.progress import Display
    from orchestrator.driver import executors as execution
    from orchestrator.driver.launch import Launch
    from orchestrator.driver.replication import seeds_to_add

    display = Display(planned, console)
    with _followers(planned.sweep.name, root, how) as followers:
        listeners = Several([display, *followers])
        launch = Launch(planned, root, how.device, listeners, how.retry_failed)
        state = launch.state
        failed_before = 0 if how.retry_failed else len(state.failed)
        display.tally.expect(state.needed, len(state.done), failed_before)
        if state.needed:
            _check_methods(planned.sweep, how.address, console)
            launch.device = _device(how)
        execution.record_plan(planned, root, file.read_text(encoding="utf-8"))
        console.print(
            f"{planned.sweep.name}: {len(planned.trials)} trials, {len(state.done)} done before, "
            f"{len(state.needed)} jobs to do",
            highlight=False,
        )
        if state.needed:
            with display:
                execution.run(launch, how.executor, how.workers, how.address, display.stopping)
    if not launch.finished or not (more := seeds_to_add(planned, root)):
        return None
    console.print(f"The verdict is not narrow enough yet: {more} more seeds", highlight=False)
    return make_plan(planned.sweep, len(planned.seeds) + more)


def _device(how: How) -> str:
    """Return the device, checked where it is this machine's; a cluster's are its nodes'."""
    if how.address is not None:
        return how.device
    from orchestrator.worker.job import resolve_device

    return resolve_device(how.device)


@contextlib.contextmanager
def _followers(sweep: str, root: Storage, how: How) -> Iterator[list[Progress]]:
    """Give what follows a run beside the display: a log, a tracker."""
    from orchestrator.cli.listeners import EventLog
    from orchestrator.cli.trackers import Tracking

    with contextlib.ExitStack() as stack:
        found: list[Progress] = []
        if how.log is not None:
            try:
                events = EventLog(how.log, sweep)
            except OSError as error:
                raise RequestError(f"--log {how.log}: {error.strerror}") from error
            found.append(events)
            stack.callback(events.close)
        if how.tracker is not None:
            tracking = Tracking(how.tracker, sweep, root)
            found.append(tracking)
            stack.callback(tracking.close)
        yield found


def rehearse(file: Path, storage: str, how: How, console: Console) -> None:
    """Check everything that `run` checks and show what it would do; write nothing."""
    from orchestrator.cli.status import show_plan, show_shares
    from orchestrator.state.survey import survey

    sweep, planned, root = _open(file, storage)
    state = survey(planned, root, how.retry_failed)
    _check_methods(sweep, how.address, console)
    device = _device(how)
    show_plan(planned, root, state, console)
    if state.needed:
        show_shares(planned, state, device, console)
    console.print(f"Device: {device}. Nothing was run, and nothing written.", highlight=False)


def trial(file: Path, select: str, storage: str, device: str, console: Console) -> bool:
    """Run one trial in this process; return whether it is done."""
    from orchestrator.driver.executors import record_plan
    from orchestrator.driver.inline import execute_path
    from orchestrator.worker.job import resolve_device
    from results.tables.store import Tables

    sweep, planned, root = _open(file, storage)
    wanted = _selection(select, sweep, planned.seeds)
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


def _selection(select: str, sweep: Sweep, seeds: tuple[int, ...]) -> dict[str, str]:
    levels = {**sweep.factors(), "seed": seeds}
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
    """Show how far a sweep is, from what storage holds alone."""
    from orchestrator.cli.status import show_status

    _, planned, root = _open(file, storage)
    show_status(planned, root, console)


def report(
    file: Path,
    storage: str,
    metric: str | None,
    to: Path | None,
    console: Console,
    compare: tuple[str, ...] = (),
) -> None:
    """Write a sweep's report, beside others; print its verdict and where it lies."""
    import results
    from results.report.page import make_report
    from results.report.summary import summarise

    sweep, _, root = _open(file, storage)
    loaded = results.load(storage, sweep.name)
    with console.status("drawing the report"):
        summary = summarise(loaded, metric)
        others = tuple((name, summarise(results.load(storage, name))) for name in compare)
        files = make_report(summary, sweep.name, others)
    for name, data in files.items():
        if to is None:
            root.write(data, "sweeps", sweep.name, "report", *name.split("/"))
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
    from results.tables.schema import tables_markdown

    print(tables_markdown())  # noqa: T201 - machine-readable output


def export(file: Path, to: Path, storage: str, kind: str, console: Console) -> None:
    """Write a sweep's trials as one file."""
    import results
    from results.report.benchmark import benchmark_table

    sweep, _, _ = _open(file, storage)
    trials = results.load(storage, sweep.name).trials
    if kind == "benchmark":
        trials = benchmark_table(trials)
    try:
        if kind in ("csv", "benchmark"):
            trials.to_csv(to, index=False)
        else:
            trials.to_json(to, orient="records", date_format="iso", indent=1)
    except OSError as error:
        raise RequestError(f"{to} cannot be written: {error.strerror}") from error
    console.print(f"{len(trials)} rows written to {to}", highlight=False)


def _open(file: Path, storage: str) -> tuple[Sweep, Plan, Storage]:
    """Check a sweep file and a storage root, and report the faults of both together."""
    from orchestrator.driver.replication import planned_seeds
    from results.errors import StorageError
    from results.tables.storage import Storage

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
    return sweep, make_plan(sweep, planned_seeds(sweep, root)), root


def _check_methods(sweep: Sweep, address: str | None, console: Console) -> None:
    """Refuse what cannot be read or built before work starts, all faults together.

    On a cluster the images lie on its nodes, so only the networks are looked at. Images read here
    are decoded for the workers too.
    """
    from prune_core.data import datasets
    from prune_core.models.library import check_name

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
