"""``mrsweep failures``: what failed, by kind, with the place in the code and the last frames."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from orchestrator.planning.plan import Job, Plan
from orchestrator.state.survey import survey
from results.tables.storage import Storage
from results.tables.store import Tables

FRAME = re.compile(r'  File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)')
LIBRARIES = ("site-packages", "dist-packages", "/lib/python", "<frozen")
FRAMES = 3
"""Of a traceback that are shown, the last ones."""


@dataclass(frozen=True)
class Kind:
    """Failures with one error at one place."""

    error: str
    """Its type and message, as Python writes them."""
    place: str
    """File, line and function of the last frame that is no library's; empty without a traceback."""
    frames: tuple[str, ...] = field(compare=False, default=())


def kind_of(text: str) -> Kind:
    """Return what failed and where.

    Args:
        text: ``jobs.error``: a traceback, or one line.
    """
    lines = text.strip().splitlines() or ["unknown"]
    starts = [number for number, line in enumerate(lines) if FRAME.match(line)]
    if not starts:
        return Kind(lines[0], "")
    frames = []
    for start in starts:
        frame = FRAME.match(lines[start])
        code = lines[start + 1].strip() if start + 1 < len(lines) else ""
        code = "" if code.startswith("File ") else code
        if frame is not None:
            place = f"{frame['file']}:{frame['line']} in {frame['function']}"
            frames.append((place, f"{place}: {code}" if code else place))
    ours = [place for place, _ in frames if not any(part in place for part in LIBRARIES)]
    last = [line for line in lines[starts[-1] + 1 :] if line and not line[0].isspace()]
    error = last[0] if last else lines[0]  # a job that hung begins with what it is
    return Kind(error, (ours or [frames[-1][0]])[-1], tuple(text for _, text in frames[-FRAMES:]))


def show_failures(plan: Plan, storage: Storage, again: str, console: Console) -> bool:
    """Show a sweep's failures, the most frequent kind first; return whether there are none.

    Args:
        plan: The sweep's.
        storage: The storage root.
        again: The command that tries failed trials once more.
        console: Where to print.
    """
    failed = survey(plan, storage).failed
    if not failed:
        console.print(f"{plan.sweep.name}: no trial failed", highlight=False)
        return True
    jobs: dict[Kind, list[Job]] = {}
    causes: Counter[tuple[Kind, str]] = Counter()
    explained: set[str] = set()
    for row in _last_attempts(plan, storage):
        job = plan.jobs[row["key"]]
        lost = {job.key, *plan.descendants(job.key)} & failed
        if lost:
            kind = kind_of(row["error"] or "unknown")
            jobs.setdefault(kind, []).append(job)
            causes[kind, row["cause"]] += 1
            explained |= lost
    for error, keys in _unexplained(storage, failed - explained).items():
        jobs.setdefault(Kind(error, ""), []).extend(plan.jobs[key] for key in keys)
    console.print(f"{plan.sweep.name}: trials failed: {len(failed)}", highlight=False)
    for kind, members in sorted(jobs.items(), key=lambda item: -len(item[1])):
        _show(kind, members, [cause for of, cause in causes if of == kind], plan, failed, console)
    console.print(f"\nTo try them again once it is mended: {again}", highlight=False)
    return False


def _show(
    kind: Kind,
    jobs: list[Job],
    causes: list[str],
    plan: Plan,
    failed: Iterable[str],
    console: Console,
) -> None:
    lost = set().union(*({job.key, *plan.descendants(job.key)} for job in jobs)) & set(failed)
    kinds = Counter(f"{job.kind} {job.architecture}" for job in jobs)
    what = ", ".join(f"{count} x {name}" for name, count in kinds.most_common(4))
    said = [
        f"\n{kind.error}",
        f"  trials: {len(lost)}; jobs: {what}; cause: {', '.join(causes) or 'unknown'}",
    ]
    said += [f"  at {kind.place}"] if kind.place else []
    said += [f"    {frame}" for frame in kind.frames]
    said.append(f"  such as: {_levels(plan.jobs[min(lost)].labels)}")
    console.print("\n".join(said), markup=False, highlight=False)


def _levels(labels: Mapping[str, Any] | None) -> str:
    return ",".join(f"{name}={level}" for name, level in (labels or {}).items())


def _last_attempts(plan: Plan, storage: Storage) -> list[dict[str, Any]]:
    """Return the rows of jobs of a plan whose last attempt failed."""
    columns = ["key", "attempt", "status", "cause", "error"]
    jobs = Tables(storage).read("jobs", columns)
    own = jobs[jobs["key"].isin(set(plan.jobs))]
    last = own.sort_values("attempt").drop_duplicates("key", keep="last")
    rows = last[last["status"] == "failed"].to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _unexplained(storage: Storage, keys: frozenset[str]) -> dict[str, list[str]]:
    """Return failed trials that no row of ``jobs`` explains, by what their own rows say."""
    trials = Tables(storage).read("trials", ["trial_id", "error"])
    found: dict[str, list[str]] = {}
    for row in trials[trials["trial_id"].isin(keys)].to_dict("records"):
        found.setdefault(row["error"] or "unknown", []).append(row["trial_id"])
    return found
