"""``mrsweep run``: what is left of a sweep is run, then the report is written."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console

from orchestrator.cli.checks import check_methods
from orchestrator.cli.listeners import EventLog, Several
from orchestrator.cli.options import line
from orchestrator.cli.progress import Display
from orchestrator.cli.reporting import write_report
from orchestrator.cli.request import open_sweep
from orchestrator.cli.status import show_allotments, show_cautions, show_plan
from orchestrator.driver import executors
from orchestrator.driver.address import check_address
from orchestrator.driver.executors import Executor
from orchestrator.driver.following import Progress
from orchestrator.driver.foresight import foresee, gpu_memory
from orchestrator.driver.launch import Launch
from orchestrator.driver.replication import seeds_to_add, without_verdict
from orchestrator.errors import RequestError
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.state.patience import storage_at
from orchestrator.state.survey import survey
from orchestrator.state.upkeep import tidy
from orchestrator.sweepfile.model import sweep_text
from results.errors import StorageIOError
from results.tables.storage import Storage


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
    changes: tuple[str, ...] = ()
    """Settings of the sweep file to change, each a ``section.key=value``."""
    patience: float = executors.PATIENCE


def run(file: Path, storage: str, how: How, console: Console) -> bool:
    """Run what is left of a sweep and report; return whether every trial is done."""
    plan, root = open_sweep(file, storage, how.changes)
    if how.changes:
        console.print(f"Changed: {', '.join(how.changes)}", markup=False, highlight=False)
    try:
        while (more := _run_left(file, plan, root, how, console)) is not None:
            plan = more
        after = survey(plan, root)
        tidy(root)
    except StorageIOError as error:
        raise RequestError(
            f"storage root {storage!r} failed: {error}; finished work is kept, and the same "
            "command goes on with the rest"
        ) from error
    if after.done:
        write_report(file, storage, console, changes=how.changes)
    else:
        console.print("No trial is done, so there is nothing to report.")
    left = len(plan.trials) - len(after.done) - len(after.failed)
    if after.failed:
        why = line("failures", file, how.changes, storage)
        console.print(f"Trials failed: {len(after.failed)}. To see why: {why}", highlight=False)
    if left:
        console.print(
            f"Trials not done: {left}. The same command goes on with them.", highlight=False
        )
    return not after.failed and not left


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Take a request to terminate, at whatever moment it comes, as an interruption."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def rehearse(file: Path, storage: str, how: How, console: Console) -> None:
    """Check everything that `run` checks and show what it would do; write nothing."""
    plan, root = open_sweep(file, storage, how.changes)
    state = survey(plan, root, how.retry_failed)
    _check_address(how)
    check_methods(plan, how.address, console)
    device = _device(how, plan, console)
    show_plan(plan, root, state, console)
    if state.needed:
        show_allotments(plan, state, device, console)
    console.print(f"Device: {device}. Nothing was run or written.", highlight=False)


def _run_left(file: Path, plan: Plan, root: Storage, how: How, console: Console) -> Plan | None:
    """Run what is left of a plan; return one with more seeds where the sweep asks for them."""
    if not run_plan(plan, sweep_text(file, how.changes), root, how, console):
        return None
    if not (more := seeds_to_add(plan, root)):
        return None
    without = without_verdict(plan.sweep, root)
    yet = "The verdict is not narrow enough yet"
    if without:
        yet = f"There is no verdict yet ({without})"
    console.print(f"{yet}; seeds added: {more}", highlight=False, markup=False)
    return make_plan(plan.sweep, len(plan.seeds) + more)


def run_plan(plan: Plan, text: str, root: Storage, how: How, console: Console) -> bool:
    """Run what is left of a plan; return whether nothing stopped it.

    Args:
        plan: What is to be run.
        text: Its sweep file's, which is kept beside it.
        root: The storage root.
        how: How to run it.
        console: Where to print.
    """
    state = survey(plan, root, how.retry_failed)
    with _followers(plan.sweep.name, root, how) as followers:
        device, classes = how.device, dict[str, tuple[str, ...]]()
        if state.needed:
            _check_address(how)
            classes = check_methods(plan, how.address, console)
            show_cautions(plan, console)
            device = _device(how, plan, console)
        executors.record_plan(plan, root, text, classes)
        console.print(
            f"{plan.sweep.name}: {len(plan.trials)} trials, {len(state.done)} done before, "
            f"{len(state.needed)} jobs to do",
            highlight=False,
        )
        if not state.needed:
            return True
        display = Display(plan, console)
        failed_before = 0 if how.retry_failed else len(state.failed)
        display.tally.expect(state.needed, len(state.done), failed_before)
        listeners = Several([display, *followers])
        with _executor(plan, how, device, console) as executor:
            patient = storage_at(root.root, how.patience)
            launch = Launch(plan, patient, executor.device, listeners, how.retry_failed, state)
            _foresee(launch, how, console)
            with display:
                executors.run(launch, executor, display.stopping)
        return launch.finished


def _foresee(launch: Launch, how: How, console: Console) -> None:
    """Predict what jobs take of a GPU that nothing is known of, where several share one."""
    jobs = [launch.plan.jobs[key] for key in launch.state.needed]
    if how.executor == "inline" or not any(map(launch.allotments.unknown, jobs)):
        return
    with console.status("predicting the memory of jobs"):
        if how.address is None and (memory := gpu_memory()):
            launch.allotments.see(memory)
        for note in foresee(jobs, launch.allotments):
            console.print(note, markup=False, highlight=False)


@contextlib.contextmanager
def _executor(plan: Plan, how: How, device: str, console: Console) -> Iterator[Executor]:
    """Give the executor, and show while it starts that it does."""
    cpus = plan.sweep.resources.cpus or 1
    with contextlib.ExitStack() as stack:
        with console.status(f"starting {how.executor}"):
            where = (how.executor, device, cpus, how.workers, how.address, how.patience)
            opened = executors.opened(*where)
            executor = stack.enter_context(opened)
        yield executor


def _check_address(how: How) -> None:
    """Refuse a wrong address at once: what is checked besides takes longer."""
    if how.address is not None and how.executor == "ray":
        check_address(how.address)


def _device(how: How, plan: Plan, console: Console) -> str:
    """Return the device, checked where it is this machine's; a cluster's are its nodes'."""
    if how.address is not None:
        return how.device
    # These import torch, which may not be needed.
    from orchestrator.worker.device import resolve_device, slow

    device = resolve_device(how.device)
    attacks = {name for job in plan.trials.values() for name in job.attacks}
    if why := slow(device, plan.sweep.compute, attacks):
        console.print(f"Note: {why}.", markup=False, highlight=False)
    return device


@contextlib.contextmanager
def _followers(sweep: str, root: Storage, how: How) -> Iterator[list[Progress]]:
    """Give what follows a run beside the display: a log, a tracker."""
    from orchestrator.cli.tracking import Tracking

    with contextlib.ExitStack() as stack:
        followers: list[Progress] = []
        if how.log is not None:
            try:
                events = EventLog(how.log, sweep)
            except OSError as error:
                raise RequestError(f"--log {how.log}: {error.strerror}") from error
            followers.append(events)
            stack.callback(events.close)
        if how.tracker is not None:
            tracking = Tracking(how.tracker, sweep, root)
            followers.append(tracking)
            stack.callback(tracking.close)
        yield followers
