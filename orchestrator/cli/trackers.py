"""Trackers: jobs shown in TensorBoard, Weights & Biases or MLflow, by their own libraries.

Whatever trains is a run there, whose curves grow epoch by epoch; a trial that is done has its
metrics too. They only follow: nothing is read back from them. Each is an optional extra.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from orchestrator.errors import OrchestratorError

Row = Mapping[str, Any]
CURVES = (
    "loss", "train_accuracy", "validation_accuracy", "validation_robust", "lr", "images_per_second",
)  # fmt: skip


class Run(Protocol):
    """A run in a tracker, open while its job goes on."""

    def epoch(self, number: int, curves: Mapping[str, float]) -> None:
        """Show an epoch; epochs are numbered from 1, through all trainings of a job."""

    def end(self, levels: Row, metrics: Mapping[str, float]) -> None:
        """Show the metrics, of which there may be none, and close the run."""


Open = Callable[[str, Row], Run]
"""Begins or continues a run, given a job's key and its levels."""


class TrackerError(OrchestratorError):
    """A tracker that is not installed."""


class _TensorBoard:
    """A folder of event files: curves, and every trial in the HPARAMS tab."""

    def __init__(self, folder: Path):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def epoch(self, number: int, curves: Mapping[str, float]) -> None:
        for name, value in curves.items():
            self._writer.add_scalar(f"epochs/{name}", value, number)
        self._writer.flush()

    def end(self, levels: Row, metrics: Mapping[str, float]) -> None:
        if metrics:
            self._writer.add_hparams(dict(levels), dict(metrics), run_name=".")
        self._writer.close()


class _Wandb:
    """A run of a project."""

    def __init__(self, run: Any):
        self._run = run

    def epoch(self, number: int, curves: Mapping[str, float]) -> None:
        self._run.log(dict(curves), step=number)

    def end(self, levels: Row, metrics: Mapping[str, float]) -> None:
        del levels  # given at its begin
        self._run.summary.update(dict(metrics))
        self._run.finish()


class _MLflow:
    """A run of an experiment."""

    def __init__(self, client: Any, run_id: str):
        self._client, self._id = client, run_id

    def epoch(self, number: int, curves: Mapping[str, float]) -> None:
        for name, value in curves.items():
            self._client.log_metric(self._id, name, value, step=number)

    def end(self, levels: Row, metrics: Mapping[str, float]) -> None:
        del levels
        for name, value in metrics.items():
            self._client.log_metric(self._id, name, value)
        self._client.set_terminated(self._id)


@contextlib.contextmanager
def tensorboard(sweep: str, folder: Path) -> Iterator[Open]:
    """Write event files under ``folder``."""

    def begin(key: str, levels: Row) -> Run:
        del levels  # told at the end, beside the metrics
        return _TensorBoard(folder / sweep / key)

    yield begin


@contextlib.contextmanager
def wandb(sweep: str, folder: Path) -> Iterator[Open]:
    """Write runs of the project named like the sweep; WANDB_* apply."""
    import wandb as library

    folder.mkdir(parents=True, exist_ok=True)

    def begin(key: str, levels: Row) -> Run:
        return _Wandb(
            library.init(
                project=sweep, id=key, name=key, config=dict(levels), dir=str(folder),
                reinit="create_new", resume="allow", settings=library.Settings(silent=True),
            )
        )  # fmt: skip

    yield begin


@contextlib.contextmanager
def mlflow(sweep: str, folder: Path) -> Iterator[Open]:
    """Write runs of the experiment named like the sweep; MLFLOW_* apply."""
    import os

    import mlflow as library

    if "MLFLOW_TRACKING_URI" not in os.environ:
        library.set_tracking_uri(folder.absolute().as_uri())
    experiment = library.set_experiment(sweep).experiment_id
    client = library.MlflowClient()

    def begin(key: str, levels: Row) -> Run:
        before = client.search_runs([experiment], f"tags.job = '{key}'", max_results=1)
        if before:
            return _MLflow(client, before[0].info.run_id)
        run = client.create_run(experiment, run_name=key, tags={"job": key})
        for name, value in levels.items():
            client.log_param(run.info.run_id, name, value)
        return _MLflow(client, run.info.run_id)

    yield begin


TRACKERS = {"tensorboard": tensorboard, "wandb": wandb, "mlflow": mlflow}
