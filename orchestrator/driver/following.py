"""Following a launch: what is told to whoever shows or records it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from orchestrator.planning.attempt import AttemptResult, Beat
from orchestrator.planning.plan import Job


class Progress(Protocol):
    """Is told what goes on."""

    def started(self, job: Job) -> None:
        """Note that a job was handed out; it may wait for its place."""

    def heard(self, job: Job, beat: Beat) -> None:
        """Note what a job that runs says of itself."""

    def ended(self, job: Job, result: AttemptResult, lost: Collection[str]) -> None:
        """Note that an attempt ended, and which jobs failed with it for good."""

    def noted(self, message: str) -> None:
        """Note what a person should know, and nothing else says."""
