"""Storage that is gone for a while: waited for, and never taken for empty."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.driver.executors import record_plan, run
from orchestrator.driver.inline import Inline
from orchestrator.driver.launch import Launch
from orchestrator.planning.plan import make_plan
from orchestrator.state import patience
from orchestrator.state.patience import Patient, give_up
from orchestrator.sweepfile.model import parse_sweep
from results.errors import StorageIOError
from results.tables.storage import Storage

from conftest import Silent, sweep_text
from test_launch import jobs, trials


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "sweeps").mkdir(parents=True)
    return tmp_path / "root"


def away(root: Path, seconds: float) -> threading.Thread:
    """Take a root away for a while, as a remount does; an empty folder stands in its place."""
    aside = root.with_name("aside")
    root.rename(aside)
    root.mkdir()

    def back() -> None:
        time.sleep(seconds)
        root.rmdir()  # fails if anything was written there
        aside.rename(root)

    thread = threading.Thread(target=back)
    thread.start()
    return thread


def test_what_is_gone_for_a_moment_is_waited_for(root: Path) -> None:
    storage = Patient(str(root), 30.0)
    storage.write(b"before", "artifacts", "a")
    thread = away(root, 0.3)
    assert storage.read("artifacts", "a") == b"before"  # and not None
    thread.join()
    thread = away(root, 0.3)
    storage.write(b"after", "artifacts", "b")
    thread.join()
    assert (root / "artifacts" / "b").read_bytes() == b"after"


def test_patience_ends(root: Path) -> None:
    (root / "sweeps").rmdir()
    began = time.monotonic()
    with pytest.raises(StorageIOError, match="the storage root is gone"):
        Patient(str(root), 0.5).write(b"", "artifacts", "a")
    assert time.monotonic() - began < 5
    assert not (root / "artifacts").exists()


def test_it_ends_at_once_when_the_run_is_stopped(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "sweeps").rmdir()
    monkeypatch.setattr(patience, "LONGEST", 0.2)
    storage = Patient(str(root), 600.0)
    threading.Timer(0.3, give_up, [storage]).start()
    began = time.monotonic()
    with pytest.raises(StorageIOError):
        storage.read("artifacts", "a")
    assert time.monotonic() - began < 10


def test_a_request_that_is_refused_is_not_repeated(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def refused(*_: object) -> bool:
        calls.append(1)
        raise PermissionError(13, "Permission denied")

    storage = Patient(str(root), 600.0)
    monkeypatch.setattr(storage.fs, "exists", refused)
    with pytest.raises(StorageIOError, match="Permission denied"):
        storage.exists("artifacts")
    assert calls == [1]


def test_a_sweep_goes_on_where_its_root_was_away(tmp_path: Path, undisturbed: Path) -> None:
    """In the middle of its jobs: nothing is lost, nothing fails, nothing is done again."""
    text, plain = sweep_text(seeds="1"), Storage(str(tmp_path / "root"))
    plan = make_plan(parse_sweep(text))
    record_plan(plan, plain, text)

    class Away(Silent):
        def ended(self, job: object, outcome: object, lost: object) -> None:
            super().ended(job, outcome, lost)
            if len(self.outcomes) == 2:
                threads.append(away(tmp_path / "root", 0.5))

    threads: list[threading.Thread] = []
    told = Away()
    run(Launch(plan, Patient(plain.root, 60.0), "cpu", told), Inline("cpu"))
    threads[0].join()
    assert {status for _, status in told.outcomes} == {"done"}
    expected = trials(undisturbed).query("seed == 0").reset_index(drop=True)
    pd.testing.assert_frame_equal(trials(tmp_path / "root"), expected)
    assert jobs(tmp_path / "root")["key"].is_unique
