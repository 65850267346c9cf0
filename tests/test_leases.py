"""Leases: one of many wins, the dead lose theirs, and no clock is trusted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from orchestrator.state import leases
from orchestrator.state.leases import Leases, running
from results.tables.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path))


def test_one_of_many_wins_a_lease(storage: Storage) -> None:
    drivers = [Leases(storage) for _ in range(8)]
    for driver in drivers:
        driver._write_beat(0)
    won: list[str] = []
    start = threading.Barrier(8)

    def race(driver: Leases) -> None:
        start.wait()
        won.extend(f"k{k}" for k in range(20) if driver.take(f"k{k}"))

    threads = [threading.Thread(target=race, args=(driver,)) for driver in drivers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == sorted(f"k{k}" for k in range(20))


def test_a_lease_that_is_given_back_is_free(storage: Storage) -> None:
    with Leases(storage) as one, Leases(storage) as other:
        assert one.take("k")
        assert one.take("k")
        assert not other.take("k")
        assert one.others()
        assert set(running(storage)) == {"k"}
        one.release("k")
        assert other.take("k")
        assert not one.take("k")
    assert not storage.names("leases")
    assert not storage.names("drivers")


DIES = """
import os, sys
from orchestrator.state.leases import Leases
from results.tables.storage import Storage
Leases(Storage(sys.argv[1])).__enter__().take("k")
os.kill(os.getpid(), 9)
"""


def test_a_killed_driver_of_this_machine_loses_its_leases_at_once(storage: Storage) -> None:
    dead = subprocess.run([sys.executable, "-c", DIES, storage.root], check=False)
    assert dead.returncode == -9
    assert storage.names("leases") == ["k.json"]
    assert not running(storage)
    with Leases(storage) as mine:
        assert not mine.others()
        assert mine.take("k")
    assert not storage.names("leases")


def elsewhere(storage: Storage, driver: str, beat: int) -> None:
    """The heartbeat of a driver on another machine."""
    data = {"machine": "another", "pid": os.getpid(), "process": "", "beat": beat, "at": 0}
    storage.write(json.dumps(data).encode(), "drivers", f"{driver}.json")


def test_a_driver_elsewhere_is_dead_once_its_heart_stands_still(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the watcher's own monotonic clock: what time it is anywhere says nothing."""
    clock = [1000.0]
    monkeypatch.setattr(leases.time, "monotonic", lambda: clock[0])
    elsewhere(storage, "far", 1)
    storage.create(json.dumps({"driver": "far"}).encode(), "leases", "k.json")
    mine = Leases(storage, expiry=60)
    for beat in range(2, 6):  # beats, however slowly
        assert not mine.take("k")
        clock[0] += 59
        elsewhere(storage, "far", beat)
    assert not mine.take("k")
    clock[0] += 59
    assert not mine.take("k")
    for jump in (-1e9, 1e9):
        monkeypatch.setattr(leases.time, "time", lambda jump=jump: jump)
        assert not mine.take("k")
    worker = Leases(storage, mine.driver)  # has only just begun to watch
    assert not worker.take("k")
    clock[0] += 2
    assert not worker.take("k")
    assert mine.free("k")
    assert worker.take("k")


def test_of_two_that_find_a_dead_driver_one_takes_over(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the slower one looked before the faster one took over."""
    storage.create(json.dumps({"driver": "dead"}).encode(), "leases", "k.json")
    slow, fast = Leases(storage), Leases(storage)
    for driver in (slow, fast):
        driver._write_beat(0)
    look = slow.alive

    def look_then_wait(driver: str) -> bool:
        found = look(driver)
        if driver == "dead":
            assert fast.take("k")
        return found

    monkeypatch.setattr(slow, "alive", look_then_wait)
    assert not slow.take("k")
    assert fast.take("k")


def test_a_lease_is_given_back_unread_only_where_nobody_can_have_taken_it_over(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    holder = Leases._holder
    monkeypatch.setattr(
        Leases, "_holder", lambda self, name: (read.append(name), holder(self, name))[1]
    )
    other = Leases(storage)
    with Leases(storage, beat=999.0) as mine:
        assert mine.take("job")
        mine.release("job")
        assert read == []
        other.take("theirs")
        mine.expect("theirs")  # it was handed out, and another driver was faster
        mine.release("theirs")
        assert other.holds("theirs")
        assert mine.take("later")
        mine._beaten -= 31.0  # it stood still: another driver has taken over meanwhile
        storage.write(b'{"driver": "another"}', "leases", "later.json")
        mine.release("later", taken=True)
        assert storage.read("leases", "later.json")


def test_the_heart_beats(storage: Storage) -> None:
    with Leases(storage, beat=0.02) as mine:
        limit = time.monotonic() + 20
        while json.loads(storage.read("drivers", f"{mine.driver}.json"))["beat"] < 3:
            assert time.monotonic() < limit
            time.sleep(0.01)
