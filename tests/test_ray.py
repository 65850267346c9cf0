"""The Ray Tune executor: the same tables, whatever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.driver.launch import Launch, ResourceError
from orchestrator.planning.attempt import Allotment, AttemptResult
from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import parse_sweep
from results.tables.storage import Storage

from conftest import Silent, run_sweep, sweep_text
from test_launch import jobs, trials


@pytest.mark.usefixtures("ray_session")
def test_two_workers_write_the_same_rows_as_this_process(tmp_path: Path, undisturbed: Path) -> None:
    told = run_sweep(sweep_text(), tmp_path, executor="ray", workers=2)
    pd.testing.assert_frame_equal(trials(tmp_path), trials(undisturbed))
    assert Counter(told.outcomes) == {("dense", "done"): 2, ("prune", "done"): 4,
                                      ("trial", "done"): 8}  # fmt: skip
    assert jobs(tmp_path)["key"].is_unique


KILLER = """
import os, signal
from pathlib import Path

def dies_once(layer):
    mark = Path(__file__).with_name("died")
    if not mark.exists():
        mark.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return layer.weight.abs().sum(1)
"""


HANGER = """
import time
from pathlib import Path

def hangs_once(layer):
    mark = Path(__file__).with_name("hung")
    if not mark.exists():
        mark.write_text("")
        time.sleep(600)
    return layer.weight.abs().sum(1)
"""


def test_a_killed_worker_s_job_is_tried_again(
    tmp_path: Path, undisturbed: Path, ray_session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ray_session / "killer.py").write_text(KILLER)
    monkeypatch.syspath_prepend(str(ray_session))
    text = sweep_text(criteria="[random, l1, 'killer:dies_once']")
    told = run_sweep(text, tmp_path / "root", executor="ray", workers=2)
    assert Counter(s for _, s in told.outcomes)["failed"] == 1
    rows = trials(tmp_path / "root")
    assert set(rows["status"]) == {"done"}
    assert len(rows) == 12
    rest = rows[rows["criterion"] != "killer:dies_once"].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, trials(undisturbed))
    lost = jobs(tmp_path / "root").query("status == 'failed'")
    assert lost["error"].str.contains("its worker died").tolist() == [True]
    assert lost["attempt"].tolist() == [1]


@pytest.mark.usefixtures("ray_session")
def test_a_relative_root_is_where_the_command_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers have working folders of their own; nothing may land in those."""
    monkeypatch.chdir(tmp_path)
    run_sweep(sweep_text(criteria="[l1]", seeds="1"), "runs", executor="ray", workers=2)
    assert len(trials(tmp_path / "runs")) == 2
    assert Counter(jobs(tmp_path / "runs")["kind"]) == {"dense": 1, "prune": 1, "trial": 2}


@pytest.mark.usefixtures("ray_session")
def test_a_driver_that_cannot_write_ends_in_good_order_and_goes_on_later(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, count = Launch.report, 0

    def full_disk(self: Launch, outcome: AttemptResult) -> None:
        nonlocal count
        count += 1
        if count == 5:
            raise OSError(28, "No space left on device")
        plain(self, outcome)

    with monkeypatch.context() as patch:
        patch.setattr(Launch, "report", full_disk)
        with pytest.raises(OSError, match="No space left"):
            run_sweep(sweep_text(), tmp_path, executor="ray", workers=2)
    before = jobs(tmp_path)
    assert set(before["status"]) == {"done"}  # nothing was torn down half-way
    run_sweep(sweep_text(), tmp_path, executor="ray", workers=2)
    pd.testing.assert_frame_equal(trials(tmp_path), trials(undisturbed))
    assert jobs(tmp_path)["key"].is_unique


@pytest.mark.usefixtures("ray_session")
def test_a_job_that_could_never_start_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ResourceError, match=r"dense job takes .'CPU': 64.0.; .* the cluster has 2 CPUs"
    ):
        run_sweep(sweep_text(resources="{cpus: 64}"), tmp_path, executor="ray")


@pytest.mark.usefixtures("ray_session")
def test_a_raising_criterion_fails_its_trials_alone(tmp_path: Path, undisturbed: Path) -> None:
    text = sweep_text(criteria="[random, l1, 'outside:raises']")
    run_sweep(text, tmp_path, executor="ray", workers=2)
    rows = trials(tmp_path)
    assert Counter(rows["status"]) == {"done": 8, "failed": 4}
    rest = rows[rows["status"] == "done"].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, trials(undisturbed), check_dtype=False)


def start(file: Path, root: Path, workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "orchestrator", "run", str(file), "--storage", str(root)]
    return subprocess.Popen(
        [*command, "--workers", str(workers), "--device", "cpu"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize(("workers", "then", "rows"), [(2, 1, 1), (1, 2, 4)])
def test_a_killed_driver_goes_on_where_it_was(
    workers: int, then: int, rows: int, tmp_path: Path, undisturbed: Path
) -> None:
    """``kill -9`` in mid-sweep, once some rows are there; then the same command again."""
    root, file = tmp_path / "root", tmp_path / "tiny.yaml"
    file.write_text(sweep_text())
    driver = start(file, root, workers)
    limit = time.monotonic() + 120
    while len(list(root.glob("tables/trials/*.parquet"))) < rows:
        assert driver.poll() is None, driver.stderr.read().decode()
        assert time.monotonic() < limit
        time.sleep(0.05)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    time.sleep(3)  # workers of a dead driver end by themselves
    finished = set(trials(root)["trial_id"])
    assert rows <= len(finished) < 8
    before = jobs(root)
    again = start(file, root, then)
    _, errors = again.communicate(timeout=180)
    assert again.returncode == 0, errors.decode()
    pd.testing.assert_frame_equal(trials(root), trials(undisturbed))
    after = jobs(root)
    ran_again = after[~after["key"].isin(before["key"])]
    assert not set(ran_again["key"]) & finished
    assert after[after["status"] == "done"]["key"].is_unique


@pytest.mark.usefixtures("ray_session")
def test_allotments_are_counted_as_ray_counts_them() -> None:
    from orchestrator.driver.ray_tune import _bundle, _placement

    allotment = Allotment(cpus=2, gpus=0.25, memory=2**30, accelerator="A100")
    assert _bundle(allotment) == {
        "CPU": 2, "GPU": 0.25, "memory": 2**30, "accelerator_type:A100": 0.001,
    }  # fmt: skip
    assert _bundle(Allotment()) == {"CPU": 1.0}  # no GPU asked for: Ray hides them all
    here = _placement({"allotment": asdict(allotment), "avoid": []})
    elsewhere = _placement({"allotment": asdict(allotment), "avoid": ["n1", "n2"]})
    assert here.bundles == elsewhere.bundles
    assert elsewhere._kwargs["bundle_label_selector"] == [{"ray.io/node-id": "!in(n1,n2)"}]
    assert os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] == "1"


@pytest.mark.usefixtures("ray_session")
def test_a_job_that_hangs_is_tried_again(
    tmp_path: Path, ray_session: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: Path
) -> None:
    """On the only node there is, as there is no other."""
    (ray_session / "hanger.py").write_text(HANGER)
    monkeypatch.syspath_prepend(str(ray_session))
    text = sweep_text(
        criteria="[random, 'hanger:hangs_once']",
        seeds="1",
        resources="{kinds: {scores: {time_limit: 20s}}}",  # training may be slow on a busy machine
    )
    run_sweep(text, tmp_path, executor="ray", workers=2)
    rows = trials(tmp_path)
    assert Counter(rows["status"]) == {"done": 4}
    hung = jobs(tmp_path).query("status == 'failed'")
    assert hung["cause"].tolist() == ["time"]
    assert "hanger.py" in hung["error"].item()
    assert hung["node_id"].item()
    assert hung["seconds"].item() > 19


@pytest.mark.usefixtures("ray_session")
def test_why_a_worker_died_decides_what_follows(tmp_path: Path) -> None:
    """Killed for its node's memory: once more, with more of it; then a failed row."""
    import ray

    from orchestrator.driver.ray_tune import _Jobs

    text = sweep_text(criteria="[l1]", seeds="1", resources="{memory: 1 GiB}")
    launch = Launch(make_plan(parse_sweep(text)), Storage(str(tmp_path)), "cpu", Silent())
    jobs_of = _Jobs(launch)
    first = jobs_of.suggest("t1")
    assert first["allotment"]["memory"] == 2**30
    jobs_of.died("t1", ray.exceptions.OutOfMemoryError("the node was running low on memory"))
    again = jobs_of.suggest("t2")
    assert (again["key"], again["allotment"]["memory"]) == (first["key"], 2**31)
    jobs_of.died("t2", ray.exceptions.OutOfMemoryError("the node was running low on memory"))
    assert jobs_of.failure is None
    assert jobs_of.suggest("t3") == "FINISHED"
    assert jobs(tmp_path)["cause"].tolist() == ["memory", "memory"]
    assert set(trials(tmp_path)["status"]) == {"failed"}
