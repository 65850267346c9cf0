"""What follows a launch: the event log, and the trackers, each by its own library."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.cli import trackers
from orchestrator.cli.listeners import EventLog, Several
from orchestrator.cli.status import show_status
from orchestrator.cli.trackers import TrackerError, Tracking
from orchestrator.driver.executors import record_plan, run
from orchestrator.driver.inline import Inline
from orchestrator.driver.launch import Launch
from orchestrator.planning.attempt import Beat
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
    """Run the sweep with a tracker; return the rows of the trials that are done."""
    tracking = Tracking(name, "tiny", Storage(str(root)))
    follow(root, tracking)
    tracking.close()
    assert tracking.failures == 0
    rows = Tables(Storage(str(root))).read("trials").to_dict("records")
    found = {row["trial_id"]: row for row in rows if row["status"] == "done"}
    assert len(found) == 2
    return found


def test_tensorboard_shows_levels_metrics_and_curves(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = tracked("tensorboard", tmp_path)
    folders = {folder.name: folder for folder in (tmp_path / "tensorboard" / "tiny").iterdir()}
    assert set(folders) == set(rows)
    for trial_id, row in rows.items():
        events = EventAccumulator(str(folders[trial_id]))
        events.Reload()
        (metric,) = events.Scalars("finetuned_fgsm")
        assert metric.value == pytest.approx(row["finetuned_fgsm"])
        assert ("epochs/loss" in events.Tags()["scalars"]) == (row["finetuning"] == "standard")


@pytest.mark.filterwarnings("ignore")  # of an old library's own imports
def test_mlflow_has_a_run_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    rows = tracked("mlflow", tmp_path)
    client = mlflow.MlflowClient((tmp_path / "mlflow").as_uri())
    experiment = client.get_experiment_by_name("tiny")
    runs = {
        run.data.tags["trial_id"]: run.data for run in client.search_runs(experiment.experiment_id)
    }
    assert set(runs) == set(rows)
    for trial_id, data in runs.items():
        assert data.metrics["finetuned_clean"] == pytest.approx(rows[trial_id]["finetuned_clean"])
        assert data.params["criterion"] == "l1"


def test_wandb_has_a_run_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    rows = tracked("wandb", tmp_path)
    runs = list((tmp_path / "wandb").rglob("run-*.wandb"))
    assert {file.stem.removeprefix("run-") for file in runs} == set(rows)


def test_a_tracker_that_fails_is_said_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import contextlib

    @contextlib.contextmanager
    def broken(*_: object):
        def write(*_: object) -> None:
            raise ConnectionError("no route to host")

        yield write

    monkeypatch.setitem(trackers.TRACKERS, "wandb", broken)
    tracking = Tracking("wandb", "tiny", Storage(str(tmp_path)))
    follow(tmp_path, tracking)
    tracking.close()
    assert tracking.failures == 2
    assert "no route to host" in caplog.text
    assert "trials not shown in wandb: 2" in caplog.text
    assert run_sweep(TEXT, tmp_path).outcomes == []


def test_a_tracker_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrackerError, match=r"pip install 'mrsweep\[wandb\]'"):
        Tracking("wandb", "tiny", Storage(str(tmp_path)))


def test_status_tells_how_far_a_job_is_from_storage_alone(tmp_path: Path) -> None:
    """As from another machine: the driver's heartbeat holds what its jobs say."""
    plan, storage = make_plan(parse_sweep(TEXT)), Storage(str(tmp_path))
    launch = Launch(plan, storage, "cpu", Silent())
    order = launch.take()
    with launch.leases:
        launch.leases.take(order.job.lease)
        said = {"doing": "epoch 3/40", "loss": 1.234, "accuracy": 0.5, "seconds_left": 74.0}
        launch.hear(Beat(order.job.key, order.attempt, "host", 17, **said))
        launch.leases._write_beat(1)
        text = io.StringIO()
        show_status(plan, storage, Console(file=text, width=120, soft_wrap=True))
    dense = "resnet8 dense epoch 3/40, loss 1.234, validation 50.0 %, about 1:14 left"
    assert dense in text.getvalue()
