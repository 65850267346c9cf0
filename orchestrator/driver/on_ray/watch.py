"""The watch: jobs that have fallen silent, or run past their time, are ended from outside."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from orchestrator.planning.attempt import Beat
from orchestrator.worker.timeout import GRACE

SILENCE = 600.0
"""Seconds without a heartbeat after which a job counts as hanging: some libraries let nothing else
of their process run for minutes."""
DEATH = 60.0
"""Seconds that a process which is killed may take to die; then its job is given up with it."""


@dataclass
class Watched:
    """One job that runs."""

    beat: Beat
    limit: float | None
    began: float
    heard: float
    killed: float | None = None


@dataclass
class Watch:
    """Remembers when jobs were heard; times are of the driver's own steady clock."""

    jobs: dict[str, Watched] = field(default_factory=dict)

    def hear(self, beat: Beat, limit: float | None, now: float | None = None) -> None:
        """Note a heartbeat of a job with a time limit."""
        now = time.monotonic() if now is None else now
        known = self.jobs.get(beat.key)
        if known is None or known.beat.attempt != beat.attempt:
            self.jobs[beat.key] = Watched(beat, limit, now, now)
        else:
            known.beat, known.heard = beat, now

    def deaf(self, now: float | None = None) -> None:
        """Note that nothing could be heard: no silence counts that falls into it."""
        for job in self.jobs.values():
            job.heard = time.monotonic() if now is None else now

    def leave(self, key: str) -> None:
        """Note that a job has ended."""
        self.jobs.pop(key, None)

    def hanging(self, now: float | None = None) -> dict[str, str]:
        """Return the jobs that are to be ended now, and why; each once."""
        now = time.monotonic() if now is None else now
        found = {}
        for key, job in self.jobs.items():
            late = job.limit is not None and now - job.began > job.limit + 2 * GRACE
            silent = now - job.heard
            if job.killed is None and (late or silent > SILENCE):
                job.killed = now
                quiet = f"said nothing for {silent:.0f} s"
                why = f"took more than {job.limit:g} s" if late else quiet
                found[key] = f"it {why} and did not end by itself: its process was stopped or hung"
        return found

    def undead(self, now: float | None = None) -> list[str]:
        """Return the jobs that were to be ended, and have not died; each once."""
        now = time.monotonic() if now is None else now
        waited = {k: now - j.killed for k, j in self.jobs.items() if j.killed is not None}
        found = [key for key, seconds in waited.items() if seconds > DEATH]
        for key in found:
            self.leave(key)
        return found
