"""The faults: each lets something happen to a sweep at work, and says how often it did."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import nodes
from clocks import clock_jumps
from ground import LONGEST, Ground, expect, forked, workers


def worker_killed(on: Ground) -> int:
    driver = on.start()
    strikes = 0
    for jobs in (3, 12, 25):
        on.until(driver, jobs)
        for pid in workers(on)[:1]:
            os.kill(pid, signal.SIGKILL)
            strikes += 1
    driver.communicate(timeout=LONGEST)
    return strikes


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
        text, _ = (driver := on.start("--patience", "0")).communicate(timeout=LONGEST)
        expect(driver.returncode == 2, str(text))
        expect("No space left" in text, text)
    return 1


def store_read_only(on: Ground) -> int:
    with small_disk(on, 200):
        driver = on.start("--patience", "0")
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


def compaction(on: Ground) -> list[str]:
    """Return the command that puts rows into few files."""
    return [sys.executable, "-m", "orchestrator", "compact", "--storage", str(on.root)]


def tables_damaged(on: Ground) -> int:
    interrupted_halfway(on)
    subprocess.run(compaction(on), check=True, capture_output=True)
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


def process_stopped(on: Ground) -> int:
    """As a debugger or a machine's trouble does it: it cannot even end at its time limit."""
    driver = on.start()
    on.until(driver, 8)
    while not (running := workers(on)):
        time.sleep(0.1)
    os.kill(running[0], signal.SIGSTOP)
    text, _ = driver.communicate(timeout=LONGEST)
    expect(driver.returncode == 0, str(text))
    return 1


def job_killed(on: Ground) -> int:
    """The process of a job as it is on GPUs: forked, or resident."""
    driver = on.start()
    for jobs in (3, 12, 25):
        on.until(driver, jobs)
        os.kill(forked(on)[1], signal.SIGKILL)
    text, _ = driver.communicate(timeout=LONGEST)
    expect(driver.returncode == 0, str(text))
    return 3


def job_stopped(on: Ground) -> int:
    driver = on.start()
    on.until(driver, 8)
    os.kill(forked(on)[1], signal.SIGSTOP)
    text, _ = driver.communicate(timeout=LONGEST)
    expect(driver.returncode == 0, str(text))
    return 1


def template_killed(on: Ground) -> int:
    """What the processes of jobs are forked from."""
    driver = on.start()
    for jobs in (5, 20):
        on.until(driver, jobs)
        os.kill(forked(on)[0], signal.SIGKILL)
    text, _ = driver.communicate(timeout=LONGEST)
    expect(driver.returncode == 0, str(text))
    return 2


def store_gone(on: Ground) -> int:
    """For eight seconds, as while a folder is mounted again: nothing ends for it."""
    driver = on.start()
    on.until(driver, 8)
    away = on.root.with_name("away")
    on.root.rename(away)
    on.root.mkdir()
    time.sleep(8)
    expect(not list(on.root.iterdir()), f"written meanwhile: {list(on.root.iterdir())}")
    on.root.rmdir()
    away.rename(on.root)
    text, _ = driver.communicate(timeout=LONGEST)
    expect(driver.returncode == 0, str(text))
    return 1


def interrupted_once(on: Ground) -> int:
    driver = on.start()
    on.until(driver, 10)
    os.kill(driver.pid, signal.SIGINT)
    text, _ = driver.communicate(timeout=LONGEST)
    expect("Stopping" in text, str(text))
    expect("The same command goes on" in text, str(text))
    expect("Traceback" not in text, str(text))
    return 1


def interrupted_twice(on: Ground) -> int:
    driver = on.start()
    on.until(driver, 10)
    os.kill(driver.pid, signal.SIGINT)
    time.sleep(0.3)
    os.kill(driver.pid, signal.SIGINT)
    began = time.monotonic()
    text, _ = driver.communicate(timeout=LONGEST)
    expect(driver.returncode == 130, str(driver.returncode))
    expect("Give the same command again" in text, text)
    expect("Traceback" not in text, text)
    expect(time.monotonic() - began < 20, "stopping at once took too long")
    return 2


def two_drivers(on: Ground) -> int:
    """With compaction in a loop beside them."""
    drivers = [on.start(), on.start()]
    compact = compaction(on)
    while any(driver.poll() is None for driver in drivers):
        subprocess.run(compact, check=False, capture_output=True)
        time.sleep(2)
    for driver in drivers:
        text, _ = driver.communicate(timeout=LONGEST)
        expect(driver.returncode == 0, str(text))
    return 1


FAULTS: dict[str, Callable[[Ground], int]] = {
    "worker killed": worker_killed,
    "node lost, another joined": nodes.node_lost,
    "node drained, with notice": nodes.node_drained,
    "node without the data set": nodes.node_without_data,
    "only fitting node lost": nodes.only_fitting_node_lost,
    "large jobs before small": nodes.large_before_small,
    "head killed": nodes.head_killed,
    "driver killed": driver_killed,
    "driver terminated": nodes.terminated,
    "store full": store_full,
    "store read-only": store_read_only,
    "artifacts truncated, bytes flipped": artifacts_damaged,
    "table files damaged": tables_damaged,
    "hung job": hung_job,
    "process stopped": process_stopped,
    "forked job killed": job_killed,
    "forked job stopped": job_stopped,
    "template killed": template_killed,
    "store gone for 8 s": store_gone,
    "Ctrl-C once": interrupted_once,
    "Ctrl-C twice": interrupted_twice,
    "clock jumps": clock_jumps,
    "two drivers, compaction in a loop": two_drivers,
}
SWEEPS = {
    "hung job": "hangs",
    "forked job killed": "forked",
    "forked job stopped": "forked",
    "template killed": "forked",
    "node without the data set": "images",
    "only fitting node lost": "uneven",
    "large jobs before small": "uneven",
}
"""What faults strike that do not strike the usual sweep."""
AGAIN = {"driver killed": 20, "driver terminated": 5}
"""How often those strike that come at random moments."""
