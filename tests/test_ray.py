"""The Ray Tune executor: the same tables, whatever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.driver.launch import Launch, ResourceError
from orchestrator.driver.places import bundle
from orchestrator.planning.attempt import Allotment, AttemptResult
from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import parse_sweep
from results.tables.storage import Storage

from command import mrsweep
from conftest import Silent, run_sweep, sweep_text
from test_launch import jobs, trials

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
EVENTFUL = sweep_text(
    criteria="[random, l1, 'outside:raises', 'killer:dies_once', 'hanger:hangs_once']",
    resources="{kinds: {scores: {time_limit: 20s}}}",  # training may be slow on a busy machine
)


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One local Ray for this module; yields a folder that its workers import from."""
    import ray

    folder = tmp_path_factory.mktemp("modules")
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={
            "env_vars": {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(folder)])}
        },
    )
    yield folder
    ray.shutdown()


@dataclass(frozen=True)
class Eventful:
    """A sweep in which a worker is killed, one hangs, and a criterion always raises."""

    told: Counter[tuple[str, str]]
    trials: pd.DataFrame
    jobs: pd.DataFrame


@pytest.fixture(scope="module")
def eventful(modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Eventful:
    """Run it once, by two workers.

    The root is relative: workers have working folders of their own, and nothing may land in those.
    """
    (modules / "killer.py").write_text(KILLER)
    (modules / "hanger.py").write_text(HANGER)
    folder = tmp_path_factory.mktemp("eventful")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(modules))
        patch.chdir(folder)
        told = run_sweep(EVENTFUL, "runs", executor="ray", workers=2)
    return Eventful(Counter(told.outcomes), trials(folder / "runs"), jobs(folder / "runs"))


def test_two_workers_write_the_same_rows_as_this_process(
    eventful: Eventful, undisturbed: Path
) -> None:
    same = eventful.trials[eventful.trials["criterion"].isin(["random", "l1"])]
    pd.testing.assert_frame_equal(
        same.reset_index(drop=True), trials(undisturbed), check_dtype=False
    )


def test_every_job_s_end_is_told_once(eventful: Eventful) -> None:
    assert eventful.told == {
        ("dense", "done"): 2, ("prune", "done"): 8, ("trial", "done"): 16,
        ("scores", "done"): 4, ("scores", "failed"): 4,
    }  # fmt: skip
    done = eventful.jobs.query("status == 'done'")
    assert done["key"].is_unique
    assert Counter(done["kind"]) == {"dense": 2, "scores": 4, "prune": 8, "trial": 16}


def test_a_killed_worker_s_job_is_tried_again(eventful: Eventful) -> None:
    lost = eventful.jobs[eventful.jobs["error"].str.contains("its worker died", na=False)]
    assert lost["attempt"].tolist() == [1]
    rows = eventful.trials.query("criterion == 'killer:dies_once'")
    assert rows["status"].tolist() == ["done"] * 4


def test_a_job_that_hangs_is_tried_again(eventful: Eventful) -> None:
    """On the only node there is, as there is no other."""
    hung = eventful.jobs.query("cause == 'time'")
    assert hung["status"].tolist() == ["failed"]
    assert "hanger.py" in hung["error"].item()
    assert hung["node_id"].item()
    assert hung["seconds"].item() > 19
    rows = eventful.trials.query("criterion == 'hanger:hangs_once'")
    assert rows["status"].tolist() == ["done"] * 4


def test_a_raising_criterion_fails_its_trials_alone(eventful: Eventful) -> None:
    failed = eventful.trials.query("status == 'failed'")
    assert failed["criterion"].tolist() == ["outside:raises"] * 4
    assert Counter(eventful.trials["status"]) == {"done": 16, "failed": 4}


def test_jobs_in_processes_of_their_own_write_the_same_rows(
    modules: Path, tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on GPUs: forked, one for each trial, one for the rest until a criterion kills it."""
    monkeypatch.syspath_prepend(str(modules))
    (modules / "killer_in_child.py").write_text(KILLER.replace("died", "died_in_child"))
    text = sweep_text(
        criteria="[l1, 'killer_in_child:dies_once']",
        seeds="1",
        resources="{process: resident, kinds: {trial: {process: fresh}}}",
    )
    run_sweep(text, tmp_path, executor="ray", workers=1)
    found, expected = trials(tmp_path), trials(undisturbed)
    pd.testing.assert_frame_equal(
        found.query("criterion == 'l1'").reset_index(drop=True),
        expected.query("criterion == 'l1' and seed == 0").reset_index(drop=True),
    )
    assert set(found["status"]) == {"done"}
    assert jobs(tmp_path).query("status == 'failed'")["cause"].tolist() == ["lost"]


@pytest.mark.usefixtures("modules")
def test_a_driver_that_cannot_write_ends_in_good_order_and_goes_on_later(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = sweep_text(seeds="1")
    plain, count = Launch.report, 0

    def full_disk(self: Launch, outcome: AttemptResult) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise OSError(28, "No space left on device")
        plain(self, outcome)

    with monkeypatch.context() as patch:
        patch.setattr(Launch, "report", full_disk)
        with pytest.raises(OSError, match="No space left"):
            run_sweep(text, tmp_path, executor="ray", workers=2)
    before = jobs(tmp_path)
    assert set(before["status"]) == {"done"}  # nothing was torn down half-way
    run_sweep(text, tmp_path)
    expected = trials(undisturbed).query("seed == 0").reset_index(drop=True)
    pd.testing.assert_frame_equal(trials(tmp_path), expected)
    assert jobs(tmp_path)["key"].is_unique


@pytest.mark.usefixtures("modules")
def test_a_job_that_could_never_start_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ResourceError,
        match=r"a dense job takes 64 CPUs; .* The nodes have: 1 x 2 CPUs and",
    ):
        run_sweep(sweep_text(resources="{cpus: 64}"), tmp_path, executor="ray")


@pytest.mark.usefixtures("modules", "undrawn")
def test_a_killed_driver_goes_on_where_it_was(tmp_path: Path, undisturbed: Path) -> None:
    """``kill -9`` in mid-sweep, once a row is there; then the same command again."""
    root, file = tmp_path / "root", tmp_path / "tiny.yaml"
    file.write_text(sweep_text())
    command = ["run", str(file), "--storage", str(root), "--workers", "2", "--device", "cpu"]
    driver = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    limit = time.monotonic() + 120
    while trials(root).empty:
        assert driver.poll() is None, driver.stderr.read().decode()
        assert time.monotonic() < limit
        time.sleep(0.05)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    time.sleep(3)  # workers of a dead driver end by themselves
    finished = set(trials(root)["trial_id"])
    assert 1 <= len(finished) < 8
    before = jobs(root)
    again = mrsweep(*command)
    assert again.returncode == 0, again.stderr
    pd.testing.assert_frame_equal(trials(root), trials(undisturbed))
    after = jobs(root)
    ran_again = after[~after["key"].isin(before["key"])]
    assert not set(ran_again["key"]) & finished
    assert after[after["status"] == "done"]["key"].is_unique


def test_allotments_are_counted_as_ray_counts_them() -> None:
    from orchestrator.driver.on_ray.tune import placement

    allotment = Allotment(cpus=2, gpus=0.25, memory=2**30, accelerator="A100")
    assert bundle(allotment) == {
        "CPU": 2, "GPU": 0.25, "memory": 2**30, "accelerator_type:A100": 0.001,
    }  # fmt: skip
    assert bundle(Allotment()) == {"CPU": 1.0}  # no GPU asked for: Ray hides them all
    here = placement({"allotment": asdict(allotment), "off": []})
    elsewhere = placement({"allotment": asdict(allotment), "off": ["n1", "n2"]})
    assert here.bundles == elsewhere.bundles
    assert elsewhere._kwargs["bundle_label_selector"] == [{"ray.io/node-id": "!in(n1,n2)"}]
    assert os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] == "1"


@pytest.mark.usefixtures("modules")
def test_why_a_worker_died_decides_what_follows(tmp_path: Path) -> None:
    """Killed for its node's memory: once more, with more of it; then a failed row."""
    import ray

    from orchestrator.driver.on_ray.pulse import Listener
    from orchestrator.driver.on_ray.supply import Supply
    from orchestrator.driver.on_ray.tune import Jobs

    text = sweep_text(criteria="[l1]", seeds="1", resources="{memory: 1 GiB}")
    launch = Launch(make_plan(parse_sweep(text)), Storage(str(tmp_path)), "cpu", Silent())
    jobs_of = Jobs(launch, Supply(launch, 900.0), Listener())
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
