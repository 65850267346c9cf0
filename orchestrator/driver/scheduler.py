"""The scheduler: which job is next, and what follows from how one ended; pure."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.planning.plan import Job, Plan

Urgency = tuple[float, int, str]


def anywhere(_: Job) -> bool:
    """Say of any job that it can start now."""
    return True


@dataclass
class Scheduler:
    """Hands out jobs whose parents are done, the start of the longest path first."""

    plan: Plan
    needed: Iterable[str]
    """The jobs to do; a parent that is not among them is done already."""
    attempts: Mapping[str, int] = field(default_factory=dict)
    """How often each job was tried by earlier launches."""
    alike: Callable[[Job], Hashable] = field(default=anywhere)
    """What jobs have in common of which all can start, or none: only the first of them is asked."""
    done: set[str] = field(default_factory=set, init=False)
    failed: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._open = set(self.needed)
        self._tries: dict[str, int] = dict.fromkeys(self._open, 0)
        self._waits = {
            key: {parent for parent in self.plan.jobs[key].parents if parent in self._open}
            for key in self._open
        }
        self._ready: dict[Hashable, list[Urgency]] = {}
        self._order = {key: index for index, key in enumerate(self.plan.jobs)}
        for key, waits in self._waits.items():
            if not waits:
                self._push(key)

    @property
    def finished(self) -> bool:
        """Whether every job has ended, well or not."""
        return not self._open

    def next(self, fits: Callable[[Job], bool] = anywhere) -> Job | None:
        """Return the most urgent job that can start now; None where none is ready that can."""
        for alike in sorted(self._ready, key=lambda alike: self._ready[alike][0]):
            line = self._ready[alike]
            if fits(self.plan.jobs[line[0][2]]):
                key = heapq.heappop(line)[2]
                if not line:
                    del self._ready[alike]
                self._tries[key] += 1
                return self.plan.jobs[key]
        return None

    def ready(self) -> list[tuple[Job, int]]:
        """Return one job of each kind that is ready, and how many there are like it."""
        return [(self.plan.jobs[line[0][2]], len(line)) for line in self._ready.values()]

    def attempt(self, key: str) -> int:
        """Return the number of the present attempt at a job, over all launches."""
        return self.attempts.get(key, 0) + self._tries[key]

    def succeed(self, key: str) -> None:
        """Note a job as done; what waited for it may start."""
        self._open.discard(key)
        self.done.add(key)
        for child in self.plan.children(key):
            waits = self._waits.get(child)
            if waits and key in waits:
                waits.discard(key)
                if not waits and child in self._open:
                    self._push(child)

    def tries(self, key: str) -> int:
        """Return how often this launch has handed a job out."""
        return self._tries[key]

    def defer(self, key: str) -> None:
        """Take back a job that was handed out and cannot start now; see `again`."""
        self._tries[key] -= 1

    def again(self, key: str) -> None:
        """Put a job that was handed out back in line."""
        self._push(key)

    def fail(self, key: str, error: str) -> dict[str, str]:
        """Note a job as failed for good; return the jobs that have failed with it, with why.

        It takes along every job that needed it.
        """
        job = self.plan.jobs[key]
        lost = {key: error}
        for child in self.plan.descendants(key):
            if child in self._open:
                lost[child] = f"its {job.kind} stage {key} failed: {error}"
        self._open -= lost.keys()
        self.failed |= lost
        return lost

    def _push(self, key: str) -> None:
        urgency = (-self.plan.path_weights[key], self._order[key], key)
        heapq.heappush(self._ready.setdefault(self.alike(self.plan.jobs[key]), []), urgency)
