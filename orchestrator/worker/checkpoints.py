"""Checkpoints of a job's trainings: written in the background, now and then, one at a time.

A training waits for the copy that is taken of it, not for storage. What writing fails with is
raised in the job: at its next epoch, or at its end at the latest.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from orchestrator.state.artifacts import CHECKPOINT, Artifacts
from orchestrator.state.patience import give_up
from orchestrator.state.progress import trainings
from prune_core.specs.stage import Stage
from prune_core.specs.stages import Dense, Finetuned, Scores
from prune_core.training.history import Checkpoint

Trained = Dense | Finetuned | Scores


class Checkpoints:
    """Those of one job; a context manager round its work, at whose end none is in the writing."""

    def __init__(
        self, artifacts: Artifacts, every: float = 0.0, leaving: threading.Event | None = None
    ):
        """Begin with none.

        Args:
            artifacts: Where they are kept.
            every: Seconds from one to the next, at least; 0 for one after every epoch.
            leaving: Set once this process is about to be ended: every epoch is kept from then on.
        """
        self._artifacts, self._every = artifacts, every
        self._leaving = leaving or threading.Event()
        self._last = time.monotonic()
        self._thread: threading.Thread | None = None
        self._fault: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, Exception):
            give_up(self._artifacts.storage)  # whoever ends the run does not wait for storage
        try:
            self.finish()
        except Exception as fault:
            if error is None:
                raise
            error.add_note(f"(and a checkpoint could not be written: {fault})")

    def load(self, stage: Trained) -> Checkpoint | None:
        """Return what a training goes on from; None where it begins."""
        found = self._artifacts.load(stage.kind, stage.key, CHECKPOINT)
        return Checkpoint.of(*found) if found else None

    def due(self, last: bool) -> bool:
        """Say whether to keep the epoch that ended now; ``last`` of its training.

        Raises:
            StorageIOError: The one before could not be written.
        """
        if last or not self._every or self._leaving.is_set():
            return True
        if self._thread is not None and self._thread.is_alive():
            return False
        self.finish()
        return time.monotonic() - self._last >= self._every

    def save(self, stage: Trained, checkpoint: Checkpoint) -> None:
        """Begin to write a checkpoint, which nobody changes any more.

        Raises:
            StorageIOError: The one before could not be written.
        """
        self.finish()
        self._last = time.monotonic()
        self._thread = threading.Thread(target=self._write, args=(stage, checkpoint), daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait until none is in the writing.

        Raises:
            StorageIOError: It could not be written.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if (fault := self._fault) is not None:
            self._fault = None
            raise fault

    def drop(self, stage: Stage) -> None:
        """Remove the checkpoints of a stage's trainings, which are over, for good or ill."""
        self.finish()
        for training in trainings(stage):
            self._artifacts.drop(training.kind, training.key, CHECKPOINT)

    def _write(self, stage: Trained, checkpoint: Checkpoint) -> None:
        where = (stage.kind, stage.key, CHECKPOINT)
        try:
            self._artifacts.save(*where, checkpoint.tensors, checkpoint.facts())
        except BaseException as fault:  # the job raises it
            self._fault = fault
