"""Counts of a launch while it runs: what has ended, how fast, and how long yet."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from orchestrator.planning.attempt import Beat
from orchestrator.planning.plan import Job, Plan


@dataclass
class Tally:
    """Counts of a running launch, by kind of job."""

    plan: Plan
    ended: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    total: Counter[str] = field(default_factory=Counter)
    waiting: dict[str, Job] = field(default_factory=dict)
    """Jobs that were handed out and have not begun."""
    running: dict[str, tuple[Job, Beat]] = field(default_factory=dict)
    """Jobs that run, with what each said last."""
    retries: int = 0
    jobs: int = 0
    """Jobs that this launch has done."""
    weight_left: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    weight_done: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    busy: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds that ended jobs took, by kind."""
    began: float = field(default_factory=time.monotonic)

    def expect(self, needed: tuple[str, ...], done: int, failed: int) -> None:
        """Take in what is to be done, and which trials earlier launches ended."""
        self.total.update(self.plan.jobs[key].kind for key in needed)
        self.total["trial"] += done + failed
        self.ended["trial"] += done
        self.failed["trial"] += failed
        for key in needed:
            self.weight_left[self.plan.jobs[key].kind] += self.plan.jobs[key].weight

    @property
    def seconds(self) -> float:
        """Seconds since the launch began."""
        return time.monotonic() - self.began

    @property
    def share(self) -> float:
        """Which share of this launch's computing is behind it."""
        done, left = sum(self.weight_done.values()), sum(self.weight_left.values())
        return done / (done + left) if done else 0.0

    @property
    def rate(self) -> str:
        """How many jobs end in a second, or a minute, or an hour; empty before the first."""
        if not self.jobs:
            return ""
        hour = 3600 * self.jobs / max(self.seconds, 1e-9)
        units = (("s", hour / 3600), ("min", hour / 60), ("h", hour))
        unit, rate = next((one for one in units if one[1] >= 1), units[-1])
        return f"{rate:.1f} jobs/{unit}"

    def seconds_left(self) -> float | None:
        """Estimate the time left; None before the first job has ended.

        Seconds for a unit of weight are those of the kind itself where a job of it has ended, else
        those of all kinds. As many jobs are taken to run at once as did so far.
        """
        busy, done = sum(self.busy.values()), sum(self.weight_done.values())
        if done == 0:
            return None
        left = 0.0
        for kind, weight in self.weight_left.items():
            own = self.weight_done[kind] > 0
            left += weight * (self.busy[kind] / self.weight_done[kind] if own else busy / done)
        return left * self.seconds / max(busy, 1e-9)
