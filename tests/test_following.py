"""What follows a launch: the event log, and the trackers, each by its own library."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.cli import trackers, tracking
from orchestrator.cli.listeners import EventLog, Several
from orchestrator.cli.status import show_status
from orchestrator.cli.trackers import TrackerError
from orchestrator.cli.tracking import Tracking
from orchestrator.driver.executors import record_plan, run
from orchestrator.driver.inline import Inline
from orchestrator.driver.launch import Launch
from orchestrator.planning.attempt import AttemptResult, Beat
from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import parse_sweep
from results.tables.storage import Storage
from results.tables.store import Tables

from conftest import Silent, run_sweep, sweep_text

TEXT = sweep_text(criteria="[l1, 'outside:raises']", seeds="1")


def follow(root: Path, *listeners: Any) -> Silent:
    plan, storage, silent = make_plan(parse_sweep(TEXT)), Storage(str(root)), Silent()
    record_plan(plan, storage, TEXT)
    run(Launch(plan, storage, "cpu", Several([silent, *listeners])), Inline("cpu"))
    return silent


def test_every_event_is_a_line_with_its_trial(tmp_path: Path) -> None:
    events = EventLog(tmp_path / "log.jsonl", "tiny")
    follow(tmp_path / "root", events)
    events.close()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {line["event"] for line in lines} == {"started", "running", "ended"}
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    done = [line for line in lines if line.get("status") == "done" and line["kind"] == "trial"]
    assert {line["trial_id"] for line in done} == {line["key"] for line in done}
    assert {line["levels"]["finetuning"] for line in done} == {"none", "standard"}
    assert all(line["seconds"] > 0 and line["peak_memory"] > 0 for line in done)
    failed = [line for line in lines if line.get("status") == "failed"]
    assert [(line["kind"], line["cause"], line["lost"]) for line in failed] == [
        ("scores", "error", 4)
    ]
    assert "this criterion is broken" in failed[0]["error"]


def tracked(name: str, root: Path) -> dict[str, dict[str, Any]]:
    """Run the sweep with a tracker; return rows of the trials that are done, and the dense key."""
    follower = Tracking(name, "tiny", Storage(str(root)))
    follow(root, follower)
    follower.close()
    assert follower.failures == 0
    rows = Tables(Storage(str(root))).read("trials").to_dict("records")
    found = {row["trial_id"]: row for row in rows if row["status"] == "done"}
    assert len(found) == 2
    (dense,) = {row["dense_network"] for row in found.values()}
    return found | {dense: {"finetuning": "standard", "criterion": None}}


def test_tensorboard_shows_levels_metrics_and_curves(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = tracked("tensorboard", tmp_path)
    folders = {folder.name: folder for folder in (tmp_path / "tensorboard" / "tiny").iterdir()}
    assert set(folders) == set(rows)
    for trial_id, row in rows.items():
        events = EventAccumulator(str(folders[trial_id]))
        events.Reload()
        if "finetuned_fgsm" in row:
            (metric,) = events.Scalars("finetuned_fgsm")
            assert metric.value == pytest.approx(row["finetuned_fgsm"])
        assert ("epochs/loss" in events.Tags()["scalars"]) == (row["finetuning"] == "standard")
        if row["finetuning"] == "standard":
            assert [each.step for each in events.Scalars("epochs/loss")] == [1, 2]


@pytest.mark.filterwarnings("ignore")  # of an old library's own imports
def test_mlflow_has_a_run_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    rows = tracked("mlflow", tmp_path)
    client = mlflow.MlflowClient((tmp_path / "mlflow").as_uri())
    experiment = client.get_experiment_by_name("tiny")
    runs = {run.data.tags["job"]: run.data for run in client.search_runs(experiment.experiment_id)}
    assert set(runs) == set(rows)
    for key, data in runs.items():
        if "trial_id" in rows[key]:
            assert data.metrics["finetuned_clean"] == pytest.approx(rows[key]["finetuned_clean"])
            assert data.params["criterion"] == "l1"
        else:
            assert data.params["kind"] == "dense"
            assert 0 < data.metrics["train_accuracy"] <= 1


def test_wandb_has_a_run_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    rows = tracked("wandb", tmp_path)
    runs = list((tmp_path / "wandb").rglob("run-*.wandb"))
    assert {file.stem.removeprefix("run-") for file in runs} == set(rows)


class Recorded:
    """A tracker that remembers; its first call of each run may fail."""

    def __init__(self, fails: int = 0) -> None:
        self.fails = fails
        self.said: list[tuple[Any, ...]] = []

    @contextlib.contextmanager
    def __call__(self, *_: object) -> Any:
        def begin(key: str, levels: Any) -> Recorded:
            self.said.append(("begin", levels["kind"]))
            return self

        yield begin

    def epoch(self, number: int, curves: dict[str, float]) -> None:
        if self.fails:
            self.fails -= 1
            raise ConnectionError
        self.said.append((number, curves["loss"]))

    def end(self, levels: object, metrics: object) -> None:
        self.said.append(("end", metrics))


def test_a_tracker_shows_epochs_as_they_end_and_each_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(parse_sweep(TEXT))
    (job,) = [job for job in plan.jobs.values() if job.kind == "dense"]

    def row(epoch: int) -> dict[str, Any]:
        return {"network": job.key, "epoch": epoch, "loss": 1 / epoch, "reported": False}

    tables = Tables(Storage(str(tmp_path)))
    tables.write("epochs", [row(epoch) for epoch in (1, 2, 3)])
    tables.commit()
    for fails in (0, 1):
        recorded = Recorded(fails)
        monkeypatch.setitem(trackers.TRACKERS, "wandb", recorded)
        follower = Tracking("wandb", "tiny", Storage(str(tmp_path)))
        for epoch in (1, 1, 2):  # a heartbeat says it again
            follower.heard(job, Beat(job.key, 1, "host", 17, epoch=row(epoch)))
        follower.ended(job, AttemptResult(job.key, "done"), lost=())
        follower.close()
        assert follower.failures == 0
        begun = [("begin", "dense")] * (1 + fails)
        assert recorded.said == [*begun, (1, 1.0), (2, 0.5), (3, 1 / 3), ("end", {})]


def test_a_tracker_that_fails_is_said_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @contextlib.contextmanager
    def broken(*_: object):
        def begin(*_: object) -> None:
            raise ConnectionError("no route to host")

        yield begin

    monkeypatch.setitem(trackers.TRACKERS, "wandb", broken)
    follower = Tracking("wandb", "tiny", Storage(str(tmp_path)))
    follow(tmp_path, follower)
    follower.close()
    assert follower.failures == 3
    assert "no route to host" in caplog.text
    assert "runs not shown in wandb: 3" in caplog.text
    assert run_sweep(TEXT, tmp_path).outcomes == []


def test_a_tracker_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrackerError, match=r"pip install 'mrsweep\[wandb\]'"):
        Tracking("wandb", "tiny", Storage(str(tmp_path)))


def test_status_tells_how_far_a_job_is_from_storage_alone(tmp_path: Path) -> None:
    """As from another machine: the driver's heartbeat holds what its jobs say."""
    plan, storage = make_plan(parse_sweep(TEXT)), Storage(str(tmp_path))
    launch = Launch(plan, storage, "cpu", Silent())
    order = launch.take()
    with launch.leases:
        launch.leases.take(order.job.lease)
        row = {"loss": 1.234, "validation_accuracy": 0.5}
        said = {"doing": "epoch 3/40", "epoch": row, "seconds_left": 74.0}
        launch.hear(Beat(order.job.key, order.attempt, "host", 17, **said))
        launch.leases._write_beat(1)
        text = io.StringIO()
        show_status(plan, storage, Console(file=text, width=120, soft_wrap=True))
    dense = "dense resnet8 epoch 3/40, loss 1.234, validation 50.0 %, about 1:14 left"
    assert dense in text.getvalue()
