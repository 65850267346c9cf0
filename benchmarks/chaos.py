"""Faults made to happen, on a Ray cluster of several nodes on this machine, and what they leave.

    python benchmarks/chaos.py [FAULT ...]

Every fault strikes a sweep of 24 trials (45 jobs) at work; then the same command is given until
all is done. The table ``trials`` must equal an undisturbed run's, bit for bit, but for times: no
row lost, none doubled, no finished job run again. The faults of a store need the right to mount.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from orchestrator.driver.executors import RAY_ENVIRONMENT

os.environ.update(RAY_ENVIRONMENT)
os.environ.setdefault("RAY_AUTH_TOKEN", "benchmark" * 4)

from ray.cluster_utils import Cluster

from results.tables.schema import KEY
from results.tables.storage import Storage
from results.tables.store import Tables

SWEEP = """
name: chaos
dataset: digits
architectures: [resnet8]
criteria: [random, CRITERION]
sparsities: [0.5]
allocations: [uniform, mrs]
finetuning: {none: {epochs: 0}, pgd: {objective: pgd, epochs: 3, lr: 0.05, attack_steps: 3}}
seeds: 3
dense: {objective: pgd, epochs: 4, lr: 0.05, attack_steps: 3}
sensitivity: {steps: 5, restarts: 1}
threat: {eps: 0.15}
evaluation: {attacks: [fgsm, pgd-10], sanity_images: 0}
resources: {time_limit: 40s}
"""
HANGS = """
import time
from pathlib import Path

def once(layer):
    mark = Path(__file__).with_name("hung")
    if not mark.exists():
        mark.write_text("")
        time.sleep(3600)
    return layer.weight.abs().sum(1)
"""
CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <sys/time.h>
/* The wall clock jumps by up to ten days, back and forth, every other second. */
static long jump(void) {
  struct timespec m; static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  real(CLOCK_MONOTONIC, &m);
  return (m.tv_sec / 2 % 2 ? 1 : -1) * (m.tv_sec * 2654435761u % 864000);
}
int clock_gettime(clockid_t id, struct timespec *t) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int r = real(id, t);
  if (id == CLOCK_REALTIME) t->tv_sec += jump();
  return r;
}
int gettimeofday(struct timeval *t, void *z) {
  struct timespec s; int r = clock_gettime(CLOCK_REALTIME, &s);
  t->tv_sec = s.tv_sec; t->tv_usec = s.tv_nsec / 1000; return r;
}
time_t time(time_t *t) {
  struct timespec s; clock_gettime(CLOCK_REALTIME, &s);
  if (t) *t = s.tv_sec; return s.tv_sec;
}
"""
DRIVER_CLOCK = """
import os, time
mark = os.environ.get("CHAOS_CLOCK")
if mark:
    real, steady = time.time, time.monotonic

    def jumping():
        now = steady()
        jump = (-1) ** (now // 2 % 2) * (now * 2654435761 % 864000)
        return real() + jump * os.path.exists(mark)

    time.time = jumping
"""
MEASURED = ["finetune_seconds", "evaluate_seconds", "node", "finished"]
DRIVER_KILLS = 20
LONGEST = 240.0
"""Seconds that one run may take before it counts as stuck."""


@dataclass
class Ground:
    """Where a fault strikes."""

    root: Path
    file: Path
    cluster: Cluster
    work: Path
    launches: int = 0

    def start(self, *options: str, **environment: str) -> subprocess.Popen[str]:
        """Give the command."""
        self.launches += 1
        how = options or ("--address", self.cluster.address)
        command = [sys.executable, "-m", "orchestrator", "run", str(self.file), "--device", "cpu"]
        path = os.pathsep.join([str(self.work), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(
            [*command, "--storage", str(self.root), *how],
            env={**os.environ, "PYTHONPATH": path, **environment},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def rows(self, table: str = "trials") -> int:
        """Return how many rows a table has."""
        return len(Tables(Storage(str(self.root))).arrow(table, KEY[table][:1]))

    def until(self, driver: subprocess.Popen[str], jobs: int) -> None:
        """Wait until so many jobs have ended."""
        limit = time.monotonic() + LONGEST
        while self.rows("jobs") < jobs and driver.poll() is None:
            expect(time.monotonic() < limit, f"stuck: {driver.args}")
            time.sleep(0.02)
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


def workers() -> list[int]:
    """Return the processes that run a job."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            name = (folder / "cmdline").read_bytes()
            if name.startswith(b"ray::") and b"train" in name and b"IDLE" not in name:
                found.append(int(folder.name))
    return found


def worker_killed(on: Ground) -> int:
    driver = on.start()
    strikes = 0
    for jobs in (3, 12, 25):
        on.until(driver, jobs)
        for pid in workers()[:1]:
            os.kill(pid, signal.SIGKILL)
            strikes += 1
    driver.communicate(timeout=LONGEST)
    return strikes


def node_lost(on: Ground) -> int:
    driver = on.start()
    for jobs in (5, 20):
        on.until(driver, jobs)
        lost = next(iter(on.cluster.worker_nodes))
        on.cluster.remove_node(lost, allow_graceful=False)
        time.sleep(1)
        on.cluster.add_node(num_cpus=1)
    driver.communicate(timeout=LONGEST)
    return 2


def driver_killed(on: Ground) -> int:
    driver = on.start()
    moment = random.uniform(0.5, 30)  # noqa: S311 - any moment
    with contextlib.suppress(subprocess.TimeoutExpired):
        driver.communicate(timeout=moment)
        return 0  # it was faster
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    return 1


@contextlib.contextmanager
def small_disk(on: Ground, megabytes: float) -> Iterator[None]:
    on.root.mkdir(parents=True, exist_ok=True)
    size = f"size={int(megabytes * 1024)}k"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(on.root)], check=True)
    try:
        yield
    finally:
        saved = on.root.with_name("saved")
        shutil.copytree(on.root, saved)
        subprocess.run(["umount", "-l", str(on.root)], check=True)
        shutil.copytree(saved, on.root, dirs_exist_ok=True)
        shutil.rmtree(saved)


def store_full(on: Ground) -> int:
    with small_disk(on, 1.6):
        how = ("--address", on.cluster.address, "--patience", "0")
        text, _ = (driver := on.start(*how)).communicate(timeout=LONGEST)
        expect(driver.returncode == 2, str(text))
        expect("No space left" in text, text)
    return 1


def store_read_only(on: Ground) -> int:
    with small_disk(on, 200):
        driver = on.start("--address", on.cluster.address, "--patience", "0")
        on.until(driver, 8)
        remount = ["mount", "-o", "remount,ro", str(on.root)]
        subprocess.run(remount, check=True)
        text, _ = driver.communicate(timeout=LONGEST)
        expect(driver.returncode == 2, str(text))
        expect("Read-only" in text, str(text))
    return 1


def interrupted_halfway(on: Ground) -> None:
    driver = on.start()
    on.until(driver, 22)
    os.kill(driver.pid, signal.SIGTERM)
    driver.communicate(timeout=LONGEST)


def artifacts_damaged(on: Ground) -> int:
    interrupted_halfway(on)
    files = sorted(on.root.glob("artifacts/*/*/*"))
    for number, file in enumerate(files):
        data = bytearray(file.read_bytes())
        if number % 2:
            data = data[: len(data) // 2]
        else:
            data[random.randrange(len(data))] ^= 0x10  # noqa: S311 - any byte
        file.write_bytes(data)
    return len(files)


def tables_damaged(on: Ground) -> int:
    interrupted_halfway(on)
    files = sorted(on.root.glob("tables/*/*.parquet"))[::3]
    for number, file in enumerate(files):
        data = bytearray(file.read_bytes())
        data = data[: len(data) // 2] if number % 2 else data[:4] + bytes(len(data) - 4)
        file.write_bytes(data)
    return len(files)


def hung_job(on: Ground) -> int:
    (on.work / "hung").unlink()
    on.start().communicate(timeout=LONGEST)
    return 1


def interrupted_once(on: Ground) -> int:
    driver = on.start()
    on.until(driver, 10)
    os.kill(driver.pid, signal.SIGINT)
    text, _ = driver.communicate(timeout=LONGEST)
    expect("Stopping" in text, str(text))
    expect("trials are left" in text, str(text))
    return 1


def interrupted_twice(on: Ground) -> int:
    driver = on.start()
    on.until(driver, 10)
    os.kill(driver.pid, signal.SIGINT)
    time.sleep(0.3)
    os.kill(driver.pid, signal.SIGINT)
    began = time.monotonic()
    driver.communicate(timeout=LONGEST)
    expect(driver.returncode == 130, str(driver.returncode))
    expect(time.monotonic() - began < 20, "stopping at once took too long")
    return 2


def clock_jumps(on: Ground) -> int:
    """Of a driver on Ray, as Python sees it; then, for libraries too, of one that does the jobs.

    Ray's own waiting asks the kernel for the time, which a library in between cannot change.
    """
    source, library = on.work / "clock.c", on.work / "clock.so"
    source.write_text(CLOCK)
    build = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
    subprocess.run(build, check=True)
    (on.work / "sitecustomize.py").write_text(DRIVER_CLOCK)
    mark = on.work / "jump"
    driver = on.start("--address", on.cluster.address, CHAOS_CLOCK=str(mark))
    on.until(driver, 1)  # Ray gives up a connection that a jump seems to make too slow
    mark.touch()
    on.until(driver, 25)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    driver = on.start("--executor", "inline", LD_PRELOAD=str(library))
    text, _ = driver.communicate(timeout=LONGEST)
    expect(driver.returncode == 0, str(text))
    return 2


def two_drivers(on: Ground) -> int:
    drivers = [on.start(), on.start()]
    for driver in drivers:
        text, _ = driver.communicate(timeout=LONGEST)
        expect(driver.returncode == 0, str(text))
    return 1


FAULTS: dict[str, Callable[[Ground], int]] = {
    "worker killed": worker_killed,
    "node lost, another joined": node_lost,
    "driver killed": driver_killed,
    "store full": store_full,
    "store read-only": store_read_only,
    "artifacts truncated, bytes flipped": artifacts_damaged,
    "table files damaged": tables_damaged,
    "hung job": hung_job,
    "Ctrl-C once": interrupted_once,
    "Ctrl-C twice": interrupted_twice,
    "clock jumps": clock_jumps,
    "two drivers": two_drivers,
}
LOSES_WHAT_WAS_DONE = ("artifacts truncated, bytes flipped", "table files damaged")
"""Faults that destroy what jobs had done: these have to run again."""


def trials(root: Path) -> pd.DataFrame:
    frame = pd.read_parquet(root / "tables" / "trials").sort_values("trial_id")
    return frame.drop(columns=MEASURED).reset_index(drop=True)


def compare(root: Path, reference: Path) -> tuple[int, int, int]:
    """Return rows lost (or other than they were), rows doubled, jobs repeated."""
    found, wanted = trials(root), trials(reference)
    doubled = int(found["trial_id"].duplicated().sum())
    once = found.drop_duplicates("trial_id").set_index("trial_id")
    lost = 0
    for row in wanted.set_index("trial_id").itertuples():
        same = row.Index in once.index and once.loc[row.Index].equals(
            wanted.set_index("trial_id").loc[row.Index]
        )
        lost += not same
    jobs = pd.read_parquet(root / "tables" / "jobs")
    done = jobs[jobs["status"] == "done"]
    return lost, doubled, int(done["key"].duplicated().sum())


def strike(name: str, on: Ground, kills: int) -> int:
    """Let a fault happen, again and again on one root where it is a killed driver."""
    if name != "driver killed":
        return FAULTS[name](on)
    strikes = 0
    while on.rows() < 24 and strikes < kills:
        strikes += FAULTS[name](on)
    return strikes


def main() -> None:
    chosen = sys.argv[1:] or list(FAULTS)
    random.seed(0)
    print("| fault | strikes | launches | rows lost | rows doubled | jobs repeated |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        base = Path(scratch)
        (base / "hangs.py").write_text(HANGS)
        (base / "hung").write_text("")
        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        references = {}
        for criterion in ("taylor", "hangs:once"):
            file = base / f"{criterion.partition(':')[0]}.yaml"
            file.write_text(SWEEP.replace("CRITERION", f"'{criterion}'"))
            references[criterion] = Ground(base / f"undisturbed-{file.stem}", file, cluster, base)
            if criterion == "taylor" or "hung job" in chosen:
                references[criterion].finish()
        for name in chosen:
            left = DRIVER_KILLS if name == "driver killed" else 1
            total = [0, 0, 0, 0, 0]
            while left > 0:
                like = references["hangs:once" if name == "hung job" else "taylor"]
                root = base / f"{name}-{left}".replace(" ", "-")
                on = Ground(root, like.file, cluster, base)
                strikes = strike(name, on, left)
                on.finish()
                left -= strikes if name == "driver killed" else 1
                counts = [strikes, on.launches, *compare(root, like.root)]
                total = [a + b for a, b in zip(total, counts, strict=True)]
            note = " (of what was destroyed)" if name in LOSES_WHAT_WAS_DONE else ""
            print(f"| {name} | {' | '.join(map(str, total))}{note} |", flush=True)
        cluster.shutdown()


if __name__ == "__main__":
    main()
