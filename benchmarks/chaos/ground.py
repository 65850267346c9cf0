"""Where faults strike: a sweep on a Ray cluster of several nodes on this machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.driver.executors import RAY_ENVIRONMENT

os.environ.update(RAY_ENVIRONMENT)
os.environ.setdefault("RAY_AUTH_TOKEN", "benchmark" * 4)
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - as Ray writes it

from ray.cluster_utils import Cluster

from results.tables.schema import KEY
from results.tables.storage import Storage
from results.tables.store import Tables

LONGEST = 600.0
"""Seconds that one run may take before it counts as stuck."""


@dataclass
class Ground:
    """Where a fault strikes."""

    root: Path
    file: Path
    cluster: Cluster
    work: Path
    inline: bool = False
    """Whether drivers do the jobs themselves: for faults that take no cluster."""
    launches: int = 0
    notes: list[str] = field(default_factory=list)
    """What else was measured."""
    drivers: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *options: str, **environment: str) -> subprocess.Popen[str]:
        """Give the command."""
        self.launches += 1
        how = options
        if "--address" not in options and "--executor" not in options:
            where = ("--executor", "inline") if self.inline else ("--address", self.cluster.address)
            how = (*where, *options)
        command = [sys.executable, "-m", "orchestrator", "run", str(self.file), "--device", "cpu"]
        path = os.pathsep.join([str(self.work), os.environ.get("PYTHONPATH", "")])
        driver = subprocess.Popen(
            [*command, "--storage", str(self.root), *how],
            env={**os.environ, "PYTHONPATH": path, **environment},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        self.drivers.append(driver)
        return driver

    def end(self) -> None:
        """End what still runs."""
        for driver in self.drivers:
            if driver.poll() is None:
                driver.kill()

    def rows(self, table: str = "trials") -> int:
        """Return how many rows a table has."""
        return len(Tables(Storage(str(self.root))).arrow(table, KEY[table][:1]))

    def until(self, driver: subprocess.Popen[str], jobs: int) -> None:
        """Wait until so many jobs have ended."""
        limit = time.monotonic() + LONGEST
        while self.rows("jobs") < jobs and driver.poll() is None:
            expect(time.monotonic() < limit, f"stuck: {driver.args}")
            time.sleep(0.2)
        if driver.poll() is not None:
            raise RuntimeError(f"ended too early: {driver.communicate()[0]}")

    def finish(self) -> None:
        """Give the command until all is done."""
        for _ in range(6):
            driver = self.start()
            text, _ = driver.communicate(timeout=LONGEST)
            if driver.returncode == 0:
                return
        raise RuntimeError(f"not done after {self.launches} launches:\n{text}")


def expect(found: bool, otherwise: str) -> None:
    """Stop where a fault did not do what it should."""
    if not found:
        raise RuntimeError(otherwise)


def workers(on: Ground) -> list[int]:
    """Return the processes that run a job of this ground's, not of others on the machine."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            name = (folder / "cmdline").read_bytes()
            busy = name.startswith(b"ray::") and b"train" in name and b"IDLE" not in name
            if busy and str(on.work).encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def forked(on: Ground) -> tuple[int, int]:
    """Return a template of this ground's, and a process of a job that was forked from it."""
    limit = time.monotonic() + LONGEST
    while time.monotonic() < limit:
        parents = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                ours = str(on.work).encode() in (folder / "environ").read_bytes()
                if ours and b"forked.template" in (folder / "cmdline").read_bytes():
                    fields = (folder / "stat").read_text().rpartition(")")[2].split()
                    parents[int(folder.name)] = int(fields[1])
        for pid, parent in parents.items():
            if parent in parents:
                return parent, pid
        time.sleep(0.02)
    raise RuntimeError("no job has a process of its own")
