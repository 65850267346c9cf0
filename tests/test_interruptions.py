"""Ctrl-C, two drivers, a storage root that fails: nothing lost, nothing done twice."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.cli import running
from orchestrator.driver.executors import run
from orchestrator.driver.inline import Inline
from orchestrator.driver.launch import Launch, ResourceError
from orchestrator.planning.plan import make_plan
from orchestrator.state import rows
from orchestrator.state.patience import Patient
from orchestrator.sweepfile.model import parse_sweep
from orchestrator.worker.job import perform
from results.errors import StorageIOError
from results.tables.storage import Storage

from command import mrsweep
from conftest import Silent, run_sweep, sweep_text
from test_launch import jobs, trials

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def command(tmp_path: Path) -> tuple[str, ...]:
    """The command, without Ray, on the tiny sweep."""
    file = tmp_path / "tiny.yaml"
    file.write_text(sweep_text())
    words = ("--storage", str(tmp_path / "root"), "--executor", "inline", "--device", "cpu")
    return ("run", str(file), *words)


SLOW = """
import time
from pathlib import Path

def once(layer):
    mark = Path(__file__).with_name("begun")
    if not mark.exists():
        mark.write_text("")
        time.sleep(60)
    return layer.weight.abs().sum(1)
"""


def start(command: tuple[str, ...], cwd: Path | None = None) -> subprocess.Popen[str]:
    """A process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *command], cwd=cwd,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def ended_jobs(root: Path) -> int:
    return len(jobs(root))


def wait_for_jobs(root: Path, driver: subprocess.Popen[str], count: int) -> None:
    limit = time.monotonic() + 120
    while ended_jobs(root) < count:
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < limit
        time.sleep(0.2)


def signal_within_the_third_job(root: Path, number: int, patch: pytest.MonkeyPatch) -> None:
    """Have this process sent a signal when a job writes its first file after two have ended."""
    plain, sent = Patient.write, False

    def signalling(self: Patient, data: bytes, *parts: str) -> None:
        nonlocal sent
        plain(self, data, *parts)
        if parts[0] == "artifacts" and not sent and ended_jobs(root) == 2:
            sent = True
            os.kill(os.getpid(), number)

    patch.setattr(Patient, "write", signalling)


def nothing_in_hand(root: Path) -> bool:
    return not [*root.glob("leases/*"), *root.glob("drivers/*")]


def goes_on(root: Path, undisturbed: Path) -> None:
    run_sweep(sweep_text(), root)
    pd.testing.assert_frame_equal(trials(root), trials(undisturbed))
    assert jobs(root)["key"].is_unique


def test_the_first_interruption_lets_running_jobs_end(
    command: tuple[str, ...], tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    with monkeypatch.context() as patch:
        signal_within_the_third_job(root, signal.SIGINT, patch)
        ended = mrsweep(*command)
    assert ended.returncode == 1
    assert "Stopping: " in ended.stdout
    assert "The same command goes on with them" in ended.stdout
    assert "Trials not done: " in ended.stdout
    assert nothing_in_hand(root)
    assert jobs(root)["status"].tolist() == ["done"] * 3
    goes_on(root, undisturbed)


def test_termination_stops_at_once(
    command: tuple[str, ...], tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    with monkeypatch.context() as patch:
        signal_within_the_third_job(root, signal.SIGTERM, patch)
        ended = mrsweep(*command)
    assert ended.returncode == 130
    assert "Give the same command again to go on from here" in ended.stderr
    assert nothing_in_hand(root)
    assert jobs(root)["status"].tolist() == ["done"] * 2
    goes_on(root, undisturbed)


@pytest.mark.parametrize("moment", ["open_sweep", "write_report"])
def test_so_it_does_before_jobs_and_after_them(
    moment: str, command: tuple[str, ...], undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(running, moment, asked)
    before = signal.getsignal(signal.SIGTERM)
    ended = mrsweep(
        *command[:2], "--storage", undisturbed, "--executor", "inline", "--device", "cpu"
    )
    assert ended.returncode == 130
    assert "Give the same command again to go on from here" in ended.stderr
    assert signal.getsignal(signal.SIGTERM) is before


def test_so_does_the_second_interruption(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a process of its own, in the middle of a long job."""
    root, text = tmp_path / "root", sweep_text(criteria="['slow:once']", seeds="1")
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "tiny.yaml").write_text(text)
    driver = start(command, tmp_path)
    limit = time.monotonic() + 120
    while not (tmp_path / "begun").exists():
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < limit
        time.sleep(0.02)
    for _ in range(2):
        os.kill(driver.pid, signal.SIGINT)
        time.sleep(0.05)
    said, _ = driver.communicate(timeout=30)
    assert driver.returncode == 130, said
    assert "Give the same command again to go on from here" in said
    assert nothing_in_hand(root)
    assert jobs(root)["kind"].tolist() == ["dense"]
    monkeypatch.syspath_prepend(str(tmp_path))
    run_sweep(text, root)
    assert trials(root)["status"].tolist() == ["done"] * 2
    assert jobs(root)["key"].is_unique


def test_two_drivers_at_once_do_every_job_once(
    command: tuple[str, ...], tmp_path: Path, undisturbed: Path
) -> None:
    """A process of its own, and this one."""
    root = tmp_path / "root"
    driver = start(command)
    wait_for_jobs(root, driver, 1)
    here = mrsweep(*command)
    text, _ = driver.communicate(timeout=200)
    for said in (here.stdout, text):
        assert "Traceback" not in said
        assert "8/8 trials" in said
    pd.testing.assert_frame_equal(trials(root), trials(undisturbed))
    assert len(jobs(root)) == 14
    assert jobs(root)["key"].is_unique
    assert nothing_in_hand(root)


@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "No space left"),
                                              (errno.EROFS, "Read-only file system")])  # fmt: skip
def test_a_storage_root_that_fails_is_no_trial_s_fault(
    number: int, said: str, tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the fifth job on nothing can be written: no failed row, and no work that is lost."""
    root, plain = tmp_path / "root", Storage.write

    def failing(self: Storage, data: bytes, *parts: str) -> None:
        if parts[0] in ("log", "artifacts") and ended_jobs(root) >= 5:
            raise StorageIOError(number, os.strerror(number))
        plain(self, data, *parts)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "write", failing)
        with pytest.raises(StorageIOError, match=said):
            run_sweep(sweep_text(), root)
    assert set(jobs(root)["status"]) == {"done"}
    before = set(jobs(root)["key"])
    run_sweep(sweep_text(), root)
    pd.testing.assert_frame_equal(trials(root), trials(undisturbed))
    assert jobs(root)["key"].is_unique
    assert before < set(jobs(root)["key"])


class Starved:
    """An executor that does one job, and then has no room for any other."""

    device = "cpu"

    def execute(self, launch: Launch) -> None:
        order = launch.take()
        assert order is not None
        launch.report(perform(order))
        raise ResourceError("no node has that")


def test_what_a_run_has_done_that_waits_in_vain_is_in_bare_files(tmp_path: Path) -> None:
    plan = make_plan(parse_sweep(sweep_text(seeds="1")))
    launch = Launch(plan, Storage(str(tmp_path)), "cpu", Silent())
    with pytest.raises(ResourceError, match="no node has that"):
        run(launch, Starved())
    assert pd.read_parquet(tmp_path / "tables" / "jobs")["kind"].tolist() == ["dense"]
    assert nothing_in_hand(tmp_path)


def test_a_clock_that_jumps_changes_no_result_and_no_duration(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, calls = rows.now, 0

    def jumping():
        nonlocal calls
        calls += 1
        return now() + pd.Timedelta(days=400 if calls % 2 else -400).to_pytimedelta()

    monkeypatch.setattr(rows, "now", jumping)
    run_sweep(sweep_text(), tmp_path)
    pd.testing.assert_frame_equal(trials(tmp_path), trials(undisturbed))
    found = jobs(tmp_path)
    assert found["seconds"].between(0, 100).all()
    assert not (found["end"] - found["start"]).dt.total_seconds().between(0, 100).all()


def test_what_another_driver_failed_is_failed_here_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is not tried again: its row was written after this driver looked."""
    text = sweep_text(criteria="['outside:raises']", seeds="1", finetuning="{none: {epochs: 0}}")
    late = Launch(make_plan(parse_sweep(text)), Storage(str(tmp_path)), "cpu", Silent())
    run_sweep(text, tmp_path)
    with late.leases:
        Inline("cpu").execute(late)
    assert late.finished
    assert jobs(tmp_path).query("kind == 'dense'")["attempt"].tolist() == [1]
