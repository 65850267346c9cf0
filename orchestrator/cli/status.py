"""Overviews: what a plan asks for, and how far a sweep is; from storage, without torch or ray."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import pandas as pd
from rich.console import Console
from rich.table import Table

from orchestrator.cli.progress import doing
from orchestrator.driver.allotment import Allotments
from orchestrator.planning.attempt import Beat
from orchestrator.planning.cautions import cautions
from orchestrator.planning.disk import disk
from orchestrator.planning.estimates import (
    Left,
    at_once,
    device_seconds,
    devices_of,
    jobs_table,
    rates,
    seconds_left,
)
from orchestrator.planning.plan import Plan
from orchestrator.state.leases import EXPIRY, running
from orchestrator.state.survey import State, survey
from prune_core.specs.stages import JOB_KINDS, KEEPABLE
from results.statistics.design.words import several
from results.tables.storage import Storage
from results.tables.store import Tables

SHOWN = 10
"""Jobs that run of which `show_status` tells how far they are."""
NAMED = 6
"""Kinds of jobs that `show_plan` names, of those that it knows nothing of."""
REASONS = 10
"""Distinct reasons of failures that `show_status` names."""


def show_plan(plan: Plan, storage: Storage, state: State, console: Console) -> None:
    """Show a plan's cells, its shared stages, what is there already and what the rest costs."""
    factors = {**plan.sweep.factors(), "seed": plan.seeds}
    varied = [f"{len(levels)} {name}" for name, levels in factors.items() if len(levels) > 1]
    whole = math.prod(map(len, factors.values()))
    left_out = f", {whole - len(plan.trials)} left out" if whole > len(plan.trials) else ""
    shape = f" ({' x '.join(varied)}{left_out})" if varied else ""
    trials = several(len(plan.trials), "trial")
    console.print(f"{plan.sweep.name}: {trials}{shape}", highlight=False)
    total = Counter(job.kind for job in plan.jobs.values())
    left = Counter(plan.jobs[key].kind for key in state.needed)
    jobs = jobs_table(Tables(storage))
    rate = rates(jobs.assign(seconds=device_seconds(jobs)), plan)
    seconds = seconds_left(rate, plan, state.needed)
    table = _table("jobs", "planned", "left", "hours left")
    for kind in (one for one in JOB_KINDS if total[one]):
        hours = hours_in_words([seconds[kind]]) if kind in seconds else "0"
        table.add_row(kind, str(total[kind]), str(left[kind]), hours)
    if len(seconds) > 1:
        counts = (str(len(plan.jobs)), str(len(state.needed)))
        table.add_row("all", *counts, hours_in_words(list(seconds.values())))
    console.print(table)
    _explain_hours(list(seconds.values()), jobs, console)
    _show_disk(plan, storage, jobs, console)
    show_cautions(plan, console)
    if state.failed:
        console.print(
            f"Trials failed before: {len(state.failed)}. To try them again: --retry-failed"
        )


def hours_in_words(lefts: Sequence[Left]) -> str:
    """Return hours in words: with a range where they are counted, and what they leave out."""
    low, high = (sum(getattr(left, end) for left in lefts) / 3600 for end in ("low", "high"))
    unknown = any(left.unknown for left in lefts)
    if not high:
        return "unknown" if unknown else "0"
    text = f"{_number(low)} to {_number(high)}" if high > 1.01 * low else f"{low:.3f}"
    return f"{text} and more" if unknown else text


def _number(hours: float) -> str:
    """Return three digits of a number, written out: 120,000 and not 1.2e+05."""
    return f"{float(f'{hours:.3g}'):,.10g}"


def _explain_hours(lefts: Sequence[Left], jobs: pd.DataFrame, console: Console) -> None:
    if any(left.high for left in lefts):
        console.print(
            f"Hours are device-hours on {' and '.join(devices_of(jobs))}, at the rates of jobs in "
            "this storage with the same network and images; an hour on half a GPU is half a "
            "device-hour. A range is counted from batches that were timed, or other kinds of job.",
            highlight=False,
        )
    unknown = sum((left.unknown for left in lefts), Counter[str]())
    if unknown:
        named = ", ".join(f"{count} jobs of {what}" for what, count in unknown.most_common(NAMED))
        named += f" and {len(unknown) - NAMED} more such" if len(unknown) > NAMED else ""
        console.print(
            f"Unknown: {named}: none has run in this storage. To time a batch of each: "
            "mrsweep plan FILE --probe",
            highlight=False,
        )


def show_cautions(plan: Plan, console: Console) -> None:
    """Show what a plan does as it is asked to, and may not be meant."""
    for caution in cautions(plan):
        console.print(f"Note: {caution}.", markup=False, highlight=False)


def show_allotments(plan: Plan, state: State, device: str, console: Console) -> None:
    """Show the resources that a job of each kind and architecture would take."""
    allotments = Allotments(plan.sweep.resources, device.startswith("cuda"))
    table = _table("jobs", "architecture", "CPUs", "GPUs", "memory", "time limit")
    jobs = {(plan.jobs[key].kind, plan.jobs[key].architecture): key for key in state.needed}
    for (kind, architecture), key in sorted(jobs.items()):
        given, takes = allotments.of(plan.jobs[key]), allotments.takes(plan.jobs[key])
        memory = f"{given.memory / 2**30:.1f} GiB" if given.memory else "any"
        limit = f"{takes.time_limit:g} s" if takes.time_limit else "none"
        gpus = "auto" if given.gpus and takes.gpus == "auto" else f"{given.gpus:g}"
        table.add_row(kind, architecture, f"{given.cpus:g}", gpus, memory, limit)
    console.print(table)


def amount(size: float) -> str:
    """Return a number of bytes in words, three digits of it."""
    power = min(max(int(math.log10(max(size, 1)) // 3), 1), 4)
    return f"{size / 1000**power:.3g} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def _show_disk(plan: Plan, storage: Storage, jobs: pd.DataFrame, console: Console) -> None:
    """Show how much storage networks take, and how much this plan's will take."""
    sizes = {kind: storage.sizes("artifacts", kind) for kind in KEEPABLE}
    there = sum(sum(files.values()) for files in sizes.values())
    expected, unknown = disk(plan, sizes, jobs)
    text = f"Networks in storage: {amount(there) if there else 'none'}"
    if expected:
        text += f". This plan will keep about {amount(expected)}"
    if unknown:
        named = ", ".join(sorted(unknown)[:NAMED])
        text += f" (sizes not known yet: {named}{', ...' if len(unknown) > NAMED else ''})"
    console.print(text, highlight=False)


def show_status(plan: Plan, storage: Storage, console: Console) -> None:
    """Show what of a sweep is done, running, failed and left, how fast it goes and where."""
    state = survey(plan, storage)
    total = len(plan.trials)
    left = total - len(state.done) - len(state.failed)
    console.print(
        f"{plan.sweep.name}: {total} trials: {len(state.done)} done, {len(state.failed)} failed, "
        f"{left} left",
        highlight=False,
    )
    held = running(storage)
    now = Counter(
        f"{job.kind} {job.architecture}"
        for key in state.needed
        if (job := plan.jobs[key]).lease in held
    )
    if now:
        parts = ", ".join(f"{count} x {what}" for what, count in now.most_common(6))
        console.print(f"running: {now.total()} ({parts})", highlight=False)
    drivers = {name["pid"]: name for name in held.values()}
    beats = [Beat(**beat) for driver in drivers.values() for beat in driver.get("jobs", ())]
    varied = plan.varied
    for beat in sorted(beats, key=lambda beat: -(beat.seconds_left or 0))[:SHOWN]:
        if beat.key in plan.jobs:
            console.print(
                f"  {doing(plan.jobs[beat.key], beat, varied)}", highlight=False, markup=False
            )
    for driver in drivers.values():
        silent = time.time() - driver["at"]
        if silent > EXPIRY:
            console.print(
                f"driver {driver['pid']} on {driver['host']} has been silent for {silent:.0f} s"
            )
    _show_rates(plan, storage, state, console)
    _show_failures(state, storage, console)


def _show_rates(plan: Plan, storage: Storage, state: State, console: Console) -> None:
    jobs = jobs_table(Tables(storage))
    rate = rates(jobs, plan)
    own = jobs[jobs["key"].isin(set(plan.jobs))]
    if own.empty:
        return
    last = own["end"].max()
    recent = own[own["end"] > last - timedelta(hours=1)]
    span = (last - recent["start"].min()).total_seconds()
    console.print(
        f"last job ended {last:%Y-%m-%d %H:%M:%S} UTC; in the hour before, {len(recent)} jobs, "
        f"{len(recent) / max(span, 1e-9) * 60:.1f} a minute",
        highlight=False,
    )
    nodes = at_once(recent)
    parts = ", ".join(f"{node} {busy:.1f}" for node, busy in sorted(nodes.items()))
    console.print(f"jobs at once: {sum(nodes.values()):.1f} ({parts})", highlight=False)
    seconds = seconds_left(rate, plan, state.needed)
    if seconds:
        unknown = [kind for kind, left in seconds.items() if left.unknown]
        known = sum(left.seconds for left in seconds.values())
        hours = known / max(sum(nodes.values()), 1e-9) / 3600
        text = f"time left at this rate: about {hours:.2f} hours"
        console.print(text + (f"; unknown for {', '.join(unknown)}" if unknown else ""))


def _show_failures(state: State, storage: Storage, console: Console) -> None:
    if not state.failed:
        return
    columns = Tables(storage).read("trials", ["trial_id", "error"])
    errors = columns[columns["trial_id"].isin(state.failed)]["error"]
    reasons = errors.value_counts()
    for error, count in reasons.head(REASONS).items():
        console.print(f"{count} failed: {error}", markup=False, highlight=False)
    if len(reasons) > REASONS:
        rest = int(reasons.iloc[REASONS:].sum())
        console.print(f"{rest} failed for {len(reasons) - REASONS} other reasons: see trials.error")


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    return table
