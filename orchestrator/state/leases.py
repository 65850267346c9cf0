"""Leases: who works on what, so that drivers on one storage root do nothing twice.

A driver keeps a heartbeat in storage; a lease is a file, made exclusively, that names its driver.
It counts as abandoned when that heartbeat is gone, or has stood still for `EXPIRY` seconds *of the
watcher's own clock*, or when the driver was a process of this machine and is no more. So clocks
need not agree, and may jump. A driver that was suspended for longer and wakes again may do a job
that another does too: rows are written once, under their key, so nothing is doubled then either.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from orchestrator.state.processes import machine, process, steady
from results.errors import StorageIOError
from results.tables.storage import Storage

log = logging.getLogger(__name__)
MOST_TOLD = 200
"""Jobs that run of which a heartbeat tells."""
BEAT = 5.0
"""Seconds between two heartbeats."""
EXPIRY = 60.0
"""Seconds of standstill after which a driver counts as dead."""
SILENCE = 600.0
"""Seconds between two heartbeats, by the clock of the storage, that no living driver lets pass."""
RECENT = 10.0
"""Seconds for which a driver takes it as known that it is alone: its workers look again."""
TRIES = 10
"""How often a lease that is given back at the same moment is asked for."""


class Leases:
    """The leases of one driver; a context manager round its work.

    A worker takes a job's lease, in its driver's name, when the job begins. Jobs that wait for a
    place hold none: otherwise two drivers could wait for each other.
    """

    def __init__(
        self,
        storage: Storage,
        driver: str | None = None,
        beat: float = BEAT,
        expiry: float = EXPIRY,
        works: bool = True,
    ):
        """Begin as a driver.

        Args:
            storage: The storage root.
            driver: Its name; that of the driver where a worker speaks for it.
            beat: Seconds between heartbeats.
            expiry: Seconds of standstill after which another one counts as dead.
            works: Whether it does jobs, of which others must hear.
        """
        self._storage = storage
        self.driver = driver or uuid.uuid4().hex[:16]
        self._beat, self._expiry, self._works = beat, expiry, works
        self._expected: set[str] = set()
        self._taken: set[str] = set()
        self._seen: dict[str, tuple[int, float]] = {}
        self._looked_at: float | None = None
        self._alone = False
        self._beaten: float | None = None
        self._lapsed = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, daemon=True)
        self.saying: Callable[[], list[dict[str, Any]]] = list
        """What the driver's jobs that run say of themselves."""

    def __enter__(self) -> Leases:
        self._write_beat(0)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        try:
            for name in list(self._expected):
                self.release(name)
            self._leave()
        except StorageIOError as fault:
            # They count as abandoned once this process has ended; an earlier error matters more.
            log.warning("leases stay behind, and expire: %s", fault)

    def take(self, name: str) -> bool:
        """Take a lease; False while another driver that lives has it."""
        mine = json.dumps({"driver": self.driver}).encode()
        for _ in range(TRIES):
            if self._storage.create(mine, "leases", f"{name}.json"):
                break
            holder = self._holder(name)
            if holder is None:
                continue  # given back in between
            if holder == self.driver:
                break
            if self.alive(holder) or not self._take_over(name, holder, mine):
                return False
            break
        else:
            return False
        self._expected.add(name)
        self._taken.add(name)
        return True

    def expect(self, name: str) -> None:
        """Note that a worker may take a lease in this driver's name."""
        self._expected.add(name)

    def free(self, name: str) -> bool:
        """Say whether no other driver that lives has a lease; one of a dead driver is removed.

        That a driver on another machine is dead shows only after watching for a while. A worker
        that has just begun cannot tell, so the launch asks.
        """
        holder = self._holder(name)
        if holder in (None, self.driver):
            return True
        if self.alive(str(holder)) or not self.take(name):
            return False
        self.release(name)
        return True

    def release(self, name: str, taken: bool = False) -> None:
        """Give a lease back, if this driver has it.

        Args:
            name: Of the lease.
            taken: Whether it is known that a worker of this driver took it.
        """
        self._expected.discard(name)
        taken = taken or name in self._taken
        self._taken.discard(name)
        if (taken and self._unbroken()) or self.holds(name):
            self._storage.remove_files([("leases", f"{name}.json")])

    def _unbroken(self) -> bool:
        """Say whether nobody can have taken this driver for dead: its heart never stood still."""
        if self._beaten is None:
            return False
        self._lapsed |= steady() - self._beaten > self._expiry / 2
        return not self._lapsed

    def holds(self, name: str) -> bool:
        """Say whether this driver has a lease."""
        return self._holder(name) == self.driver

    def alive(self, driver: str) -> bool:
        """Say whether a driver still works, as far as can be told."""
        data = _read(self._storage, "drivers", driver)
        if data is None or data.get("ended"):
            return False
        if data.get("machine") == machine():
            return data.get("process") == process(int(data["pid"]))
        now, beat = time.monotonic(), int(data["beat"])
        if driver not in self._seen and self._silent(driver):
            return False
        seen, since = self._seen.get(driver, (-1, now))
        if seen != beat:
            self._seen[driver] = (beat, now)
            return True
        return now - since < self._expiry

    def others(self) -> bool:
        """Say whether another driver works on this storage root."""
        return any(map(self.alive, self._others()))

    def alone(self, within: float = 0.0) -> bool:
        """Say whether no other driver has worked here since the oldest that still does began.

        One that ends beside another leaves a note: the other's workers may have been told of jobs
        that it has done since. The answer may be so many seconds old as ``within`` says.
        """
        now = time.monotonic()
        if not within or self._looked_at is None or now - self._looked_at > within:
            self._looked_at, self._alone = now, not self._others()
        return self._alone

    def _others(self) -> list[str]:
        known = (name.removesuffix(".json") for name in self._storage.names("drivers"))
        return [driver for driver in known if driver != self.driver]

    def _leave(self) -> None:
        """Say goodbye: a note beside others; the last one takes all notes with it."""
        others = self._others()
        if self._works and any(map(self.alive, others)):
            note = json.dumps({"ended": True}).encode()
            self._storage.write(note, "drivers", f"{self.driver}.json")
            return
        gone = [self.driver, *(others if self._works else [])]
        self._storage.remove_files([("drivers", f"{driver}.json") for driver in gone])

    def expire(self) -> None:
        """Give back what drivers that are gone had, and forget them; before jobs are handed out."""
        for name in self._storage.names("leases"):
            self.free(name.removesuffix(".json"))
        others = self._others()
        if not any(map(self.alive, others)):
            self._storage.remove_files([("drivers", f"{driver}.json") for driver in others])

    def _silent(self, driver: str) -> bool:
        """Say whether a driver's last heartbeat is far older than this one's, by one clock.

        That is the clock of the storage: those of machines may say anything.
        """
        last, mine = (
            self._storage.modified("drivers", f"{name}.json") for name in (driver, self.driver)
        )
        return last is not None and mine is not None and (mine - last).total_seconds() > SILENCE

    def _holder(self, name: str) -> str | None:
        """Return the driver that has a lease; None where it is gone, nobody where it is damaged."""
        data = self._storage.read("leases", f"{name}.json")
        return None if data is None else str((_parsed(data) or {}).get("driver", "nobody"))

    def _take_over(self, name: str, holder: str, mine: bytes) -> bool:
        """Replace an abandoned lease. The right to do so is a lease too: one of many wins it."""
        right = f"{name}.after-{holder}"
        if not self.take(right):
            return False
        try:
            if self._holder(name) != holder:
                return False  # another was faster, and has given up the right since
            self._storage.write(mine, "leases", f"{name}.json")
            self._storage.remove("drivers", f"{holder}.json")  # so that nobody waits for it again
        finally:
            self.release(right)
        return True

    def _keep_beating(self) -> None:
        beat = 0
        while not self._over.wait(self._beat):
            beat += 1
            try:
                self._write_beat(beat)
            except StorageIOError as fault:
                log.warning("no heartbeat: %s", fault)  # jobs meet the same fault, and report it

    def _write_beat(self, beat: int) -> None:
        data = {
            "machine": machine(),
            "host": platform.node(),
            "pid": os.getpid(),
            "process": process(os.getpid()),
            "beat": beat,
            "at": time.time(),  # for people; no decision hangs on it
            "jobs": self.saying()[:MOST_TOLD],  # for people too
        }
        began = steady()
        self._storage.write(json.dumps(data).encode(), "drivers", f"{self.driver}.json")
        self._unbroken()  # takes note of a lapse before this beat ends it
        self._beaten = began


def running(storage: Storage) -> dict[str, dict[str, Any]]:
    """Return the leases that are held, with what their drivers last said of themselves."""
    names = [name.removesuffix(".json") for name in storage.names("leases")]
    held = {}
    for name in names:
        lease = _read(storage, "leases", name)
        driver = lease and _read(storage, "drivers", str(lease["driver"]))
        if driver and not driver.get("ended"):
            gone = driver["machine"] == machine() and driver["process"] != process(driver["pid"])
            if not gone:
                held[name] = driver
    return held


def _read(storage: Storage, folder: str, name: str) -> dict[str, Any] | None:
    """Return a small JSON file; None where it is gone, damaged or half written."""
    data = storage.read(folder, f"{name}.json")
    return None if data is None else _parsed(data)


def _parsed(data: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(data)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
