"""The scheduler: which job is next, and what follows from how one ended; pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.planning.plan import Job, Plan


@dataclass
class Scheduler:
    """Hands out jobs whose parents are done, the start of the longest path first."""

    plan: Plan
    needed: Iterable[str]
    """The jobs to do; a parent that is not among them is done already."""
    attempts: Mapping[str, int] = field(default_factory=dict)
    """How often each job was tried by earlier launches."""
    done: set[str] = field(default_factory=set, init=False)
    failed: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._open = set(self.needed)
        self._tries: dict[str, int] = dict.fromkeys(self._open, 0)
        self._waits = {
            key: {parent for parent in self.plan.jobs[key].parents if parent in self._open}
            for key in self._open
        }
        self._ready: list[tuple[float, int, str]] = []
        self._order = {key: index for index, key in enumerate(self.plan.jobs)}
        for key, waits in self._waits.items():
            if not waits:
                self._push(key)

    @property
    def finished(self) -> bool:
        """Whether every job has ended, well or not."""
        return not self._open

    def next(self) -> Job | None:
        """Return a job to start, or None while all that is left waits for running jobs."""
        if not self._ready:
            return None
        key = heapq.heappop(self._ready)[2]
        self._tries[key] += 1
        return self.plan.jobs[key]

    def attempt(self, key: str) -> int:
        """Return the number of the present attempt at a job, over all launches."""
        return self.attempts.get(key, 0) + self._tries[key]

    def succeed(self, key: str) -> None:
        """Note a job as done; what waited for it may start."""
        self._open.discard(key)
        self.done.add(key)
        for child in self.plan.children[key]:
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
        """Put a deferred job back in line."""
        self._push(key)

    def fail(self, key: str, error: str, attempts: int) -> dict[str, str]:
        """Note an attempt as failed; return the jobs that have now failed for good, with why.

        It is handed out again until there were ``attempts``. A job that has failed takes along
        every job that needed it.
        """
        if self._tries[key] < attempts:
            self._push(key)
            return {}
        job = self.plan.jobs[key]
        lost = {key: error}
        for child in self.plan.descendants(key):
            if child in self._open:
                lost[child] = f"its {job.kind} stage {key} failed: {error}"
        self._open -= lost.keys()
        self.failed |= lost
        return lost

    def _push(self, key: str) -> None:
        heapq.heappush(self._ready, (-self.plan.path_weights[key], self._order[key], key))
