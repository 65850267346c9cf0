"""Trackers: done trials shown in TensorBoard, Weights & Biases or MLflow, by their own libraries.

They only follow the tables: nothing is read back from them. Each is an optional extra.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import queue
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.planning.attempt import AttemptResult, Beat
from orchestrator.planning.plan import Job
from prune_core.specs.stages import Trial
from results.tables.schema import is_metric
from results.tables.storage import Storage
from results.tables.store import Tables

log = logging.getLogger(__name__)
Row = Mapping[str, Any]
Write = Callable[[str, Row, Row, Sequence[Row]], None]
"""Takes a trial's id, its levels, its metrics, and the epochs of its fine-tuning."""
CURVES = ("loss", "train_accuracy", "validation_accuracy", "validation_robust", "lr")


class TrackerError(OrchestratorError):
    """A tracker that is not installed."""


@contextlib.contextmanager
def tensorboard(sweep: str, folder: Path) -> Iterator[Write]:
    """Write event files under ``folder``: curves, and every trial in the HPARAMS tab."""
    from torch.utils.tensorboard import SummaryWriter

    def write(trial_id: str, levels: Row, metrics: Row, epochs: Sequence[Row]) -> None:
        with SummaryWriter(str(folder / sweep / trial_id)) as writer:
            for epoch in epochs:
                for name in CURVES:
                    if epoch[name] is not None:
                        writer.add_scalar(f"epochs/{name}", epoch[name], epoch["epoch"])
            writer.add_hparams(dict(levels), dict(metrics), run_name=".")

    yield write


@contextlib.contextmanager
def wandb(sweep: str, folder: Path) -> Iterator[Write]:
    """Write every trial as a run of the project named like the sweep; WANDB_* apply."""
    import wandb as library

    folder.mkdir(parents=True, exist_ok=True)

    def write(trial_id: str, levels: Row, metrics: Row, epochs: Sequence[Row]) -> None:
        run = library.init(
            project=sweep, id=trial_id, name=trial_id, config=dict(levels), dir=str(folder),
            settings=library.Settings(silent=True),
        )  # fmt: skip
        for epoch in epochs:
            run.log({name: epoch[name] for name in CURVES}, step=epoch["epoch"])
        run.summary.update(dict(metrics))
        run.finish()

    yield write


@contextlib.contextmanager
def mlflow(sweep: str, folder: Path) -> Iterator[Write]:
    """Write every trial as a run of the experiment named like the sweep; MLFLOW_* apply."""
    import os

    import mlflow as library

    if "MLFLOW_TRACKING_URI" not in os.environ:
        library.set_tracking_uri(folder.absolute().as_uri())
    library.set_experiment(sweep)

    def write(trial_id: str, levels: Row, metrics: Row, epochs: Sequence[Row]) -> None:
        with library.start_run(run_name=trial_id):
            library.set_tag("trial_id", trial_id)
            library.log_params(dict(levels))
            library.log_metrics(dict(metrics))
            for epoch in epochs:
                curve = {name: epoch[name] for name in CURVES if epoch[name] is not None}
                library.log_metrics(curve, step=epoch["epoch"])

    yield write


TRACKERS = {"tensorboard": tensorboard, "wandb": wandb, "mlflow": mlflow}


class Tracking:
    """Hands done trials to a tracker, in a thread: the tracker may be slow or out of reach."""

    def __init__(self, name: str, sweep: str, storage: Storage):
        if importlib.util.find_spec(name) is None:
            raise TrackerError(f"--logger {name} is not installed; pip install 'mrsweep[{name}]'")
        self._tables = Tables(storage)
        root = Path(storage.root) if storage.local else Path()
        self._tracker = TRACKERS[name](sweep, root / name)
        self._name = name
        self._trials: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        self.failures = 0

    def started(self, job: Job) -> None:
        """Show nothing: the job has only begun."""

    def heard(self, job: Job, beat: Beat) -> None:
        """Show nothing yet: epochs are shown with their trial."""

    def noted(self, message: str) -> None:
        """Show nothing: it is said to people."""

    def ended(self, job: Job, result: AttemptResult, lost: Collection[str]) -> None:
        """Show a trial that is done."""
        del lost  # a failed trial has nothing to show; the tables say why it failed
        if result.status == "done" and isinstance(job.stage, Trial):
            self._trials.put(job)

    def close(self) -> None:
        """Wait until everything is handed over."""
        self._trials.put(None)
        self._thread.join()
        if self.failures:
            log.warning(
                "trials not shown in %s: %d; the tables have them", self._name, self.failures
            )

    def _follow(self) -> None:
        with self._tracker as write:
            while (job := self._trials.get()) is not None:
                try:
                    write(job.key, job.labels or {}, *self._result(job))
                except Exception:  # no tracker's fault is a reason to lose the sweep
                    self.failures += 1
                    log.exception("%s did not take trial %s", self._name, job.key)

    def _result(self, job: Job) -> tuple[Row, list[Row]]:
        row = (self._tables.find("trials", job.key) or [{}])[0]
        metrics = {name: value for name, value in row.items() if is_metric(name)}
        stage = job.stage
        trainings = stage.trainings if isinstance(stage, Trial) else []
        epochs = [e for s in trainings[:1] for e in self._tables.find("epochs", s.key) or []]
        known = {name: value for name, value in metrics.items() if value is not None}
        return known, sorted(epochs, key=lambda epoch: epoch["epoch"])
