"""Replication: seeds are added until the verdict is narrow enough, or the budget is spent.

The rule, and every look at the data that it took, are written beside the plan, for the report.
"""

from __future__ import annotations

import json
import math
from typing import Any

from orchestrator.planning.estimates import device_seconds, jobs_table
from orchestrator.planning.plan import Plan
from orchestrator.sweepfile.model import Sweep
from orchestrator.sweepfile.resources import Replication
from results.errors import AnalysisError
from results.tables.storage import Storage
from results.tables.store import Tables

FASTEST = 1.5
"""Seeds grow by this factor at most between two looks: early intervals may be wide by chance."""


def planned_seeds(sweep: Sweep, storage: Storage) -> int | None:
    """Return how many seeds the last run of a sweep was at; None where it adds none."""
    if not isinstance(sweep.seeds, Replication):
        return None
    count = int(_record(sweep.name, storage).get("seeds", 0))
    return min(max(count, sweep.seeds.min), sweep.seeds.max)


def seeds_to_add(plan: Plan, storage: Storage) -> int:
    """Look at what is done, write the look down, and return how many seeds to add.

    Where the data cannot carry a verdict yet, its interval counts as without end.
    """
    sweep, rule = plan.sweep, plan.sweep.seeds
    if not isinstance(rule, Replication):
        return 0
    import results  # loads statistics, which plans do not need
    from results.statistics.verdict.verdict import leading_metric

    trials = results.load(storage.root, sweep.name).trials
    done = trials[trials["status"] == "done"]
    if done.empty:
        return 0  # more seeds would fail alike
    metric, width, without = rule.until.metric, math.inf, None
    try:
        metric = leading_metric(done, metric)
        verdict = results.verdict(trials, metric)
        width = (verdict.high - verdict.low) / 2
    except AnalysisError as error:
        without = str(error)
    count, hours = len(plan.seeds), device_hours(plan, storage)
    ended = _reason(rule, count, width, hours)
    look: dict[str, Any] = {"seeds": count, "half_width": None if without else round(width, 4)}
    look |= {"device_hours": round(hours, 6), "no_verdict": without}
    record = _record(sweep.name, storage)
    before = [other for other in record.get("looks", []) if other["seeds"] < count]
    more = 0 if ended else seeds_for(rule, count, width) - count
    _write(sweep.name, storage, {
        "rule": rule.model_dump(mode="json"), "metric": metric, "looks": [*before, look],
        "ended": ended, "seeds": count + more,
    })  # fmt: skip
    return more


def without_verdict(sweep: Sweep, storage: Storage) -> str | None:
    """Return why the last look found no verdict; None where it found one."""
    looks = _record(sweep.name, storage).get("looks") or [{}]
    without: str | None = looks[-1].get("no_verdict")
    return without


def device_hours(plan: Plan, storage: Storage) -> float:
    """Return the device-hours of a plan's jobs so far; half a GPU for an hour is half of one."""
    jobs = jobs_table(Tables(storage))
    own = jobs[jobs["key"].isin(set(plan.jobs))]
    return float(device_seconds(own).sum()) / 3600


def _reason(rule: Replication, count: int, width: float, hours: float) -> str | None:
    if width <= rule.until.half_width:
        return "narrow"
    if rule.until.hours is not None and hours >= rule.until.hours:
        return "hours"
    return "max" if count >= rule.max else None


def seeds_for(rule: Replication, count: int, width: float) -> int:
    """Return how many seeds to go on with, if widths shrink with the root of their number."""
    wanted = count * (width / rule.until.half_width) ** 2
    fastest = math.floor(count * FASTEST)
    return max(count + 1, min(math.ceil(min(wanted, fastest)), rule.max))


def _record(sweep: str, storage: Storage) -> dict[str, Any]:
    data = storage.read("sweeps", sweep, "replication.json")
    record: dict[str, Any] = json.loads(data) if data else {}
    return record


def _write(sweep: str, storage: Storage, record: dict[str, Any]) -> None:
    data = json.dumps(record, indent=1, sort_keys=True).encode()
    storage.write(data, "sweeps", sweep, "replication.json")
