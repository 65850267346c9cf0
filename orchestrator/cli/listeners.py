"""Following a launch: several listeners as one, and a log with a line of JSON for every event."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.driver.following import Progress
from orchestrator.planning.attempt import AttemptResult, Beat
from orchestrator.planning.plan import Job


class Several:
    """Tells several listeners what goes on."""

    def __init__(self, listeners: Sequence[Progress]):
        self._listeners = listeners

    def started(self, job: Job) -> None:
        """Note that a job was handed out."""
        for listener in self._listeners:
            listener.started(job)

    def heard(self, job: Job, beat: Beat) -> None:
        """Note what a job that runs says of itself."""
        for listener in self._listeners:
            listener.heard(job, beat)

    def noted(self, message: str) -> None:
        """Note what a person should know."""
        for listener in self._listeners:
            listener.noted(message)

    def ended(self, job: Job, result: AttemptResult, lost: Collection[str]) -> None:
        """Note that an attempt ended, and which jobs failed with it for good."""
        for listener in self._listeners:
            listener.ended(job, result, lost)


class EventLog:
    """Appends a line of JSON for every event: time, job, trial, and how the job ended."""

    def __init__(self, file: Path, sweep: str):
        self._sweep = sweep
        self._said: dict[str, Beat] = {}
        self._handler = logging.FileHandler(file, encoding="utf-8")
        self._handler.setFormatter(_JsonLines())

    def started(self, job: Job) -> None:
        """Note that a job was handed out."""
        self._write("started", job)

    def heard(self, job: Job, beat: Beat) -> None:
        """Note what a job that runs says of itself, where that is new."""
        if self._said.get(job.key) != beat:
            self._said[job.key] = beat
            self._write("running", job, **{k: v for k, v in asdict(beat).items() if k != "key"})

    def noted(self, message: str) -> None:
        """Note what a person should know."""
        self._put({"event": "noted", "sweep": self._sweep, "message": message})

    def ended(self, job: Job, result: AttemptResult, lost: Collection[str]) -> None:
        """Note that an attempt ended, and which jobs failed with it for good."""
        told = {
            "status": result.status,
            "cause": result.cause,
            "error": result.error,
            "seconds": round(result.seconds, 3),
            "peak_memory": result.peak_memory,
            "node_id": result.node,
        }
        self._said.pop(job.key, None)
        again = result.status == "failed" and not lost
        self._write("repeated" if again else "ended", job, **told, lost=len(lost))

    def close(self) -> None:
        """Close the file."""
        self._handler.close()

    def _write(self, event: str, job: Job, **more: Any) -> None:
        data: dict[str, Any] = {"event": event, "sweep": self._sweep}
        data |= {"kind": job.kind, "key": job.key}
        data |= {"architecture": job.architecture, **more}
        if job.labels is not None:
            data |= {"trial_id": job.key, "levels": dict(job.labels)}
        self._put(data)

    def _put(self, data: dict[str, Any]) -> None:
        record = logging.LogRecord("mrsweep", logging.INFO, "", 0, "", None, None)
        record.data = data
        self._handler.emit(record)


class _JsonLines(logging.Formatter):
    default_msec_format = "%s.%03d"

    def format(self, record: logging.LogRecord) -> str:
        data = {"time": self.formatTime(record), **getattr(record, "data", {})}
        return json.dumps({name: value for name, value in data.items() if value is not None})
