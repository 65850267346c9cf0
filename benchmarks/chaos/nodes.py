"""Strikes on nodes: lost, drained, without what others have; and how long one has nothing to do."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import ray
from asked import TRIALS, images_of
from ground import LONGEST, Cluster, Ground, expect
from ray.core.generated import autoscaler_pb2

from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import read_sweep

STEP = 0.05
"""Seconds between two looks at who has nothing to do."""


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


def node_without_data(on: Ground) -> int:
    """Where the images lie, it has an empty folder; nor has it decoded any."""
    with bare_node(on):
        text, _ = (driver := on.start()).communicate(timeout=LONGEST)
    expect(driver.returncode == 0, text)
    expect(text.count("is given no more jobs") == 1, text)
    jobs = pd.read_parquet(on.root / "tables" / "jobs")
    return int((jobs["status"] == "failed").sum())


def only_fitting_node_lost(on: Ground) -> int:
    """What fits elsewhere is done, what nothing fits is named; then it is waited for, not long."""
    with one_more(on, 2) as node:
        driver = on.start("--patience", "0.2")
        on.until(driver, 8)
        on.cluster.remove_node(node, allow_graceful=False)
        text, _ = driver.communicate(timeout=LONGEST)
    expect(driver.returncode == 2, text)
    expect("jobs wait for a node with 2 CPUs since" in text, text)
    expect("no node has had 2 CPUs for" in text, text)
    done = pd.read_parquet(on.root / "tables" / "trials")
    small = int((done["architecture"] == "resnet8").sum())
    expect(small == TRIALS // 2, f"{small} of the trials that fit elsewhere are done")
    with one_more(on, 2):
        on.finish()
    return 1


def large_before_small(on: Ground) -> int:
    """Jobs of two CPUs, first in line, of which one node holds one; the others hold the small."""
    with one_more(on, 2) as large:
        sizes = {node.node_id: 1 for node in on.cluster.worker_nodes} | {large.node_id: 2}
        log = on.work / "events.log"
        driver = on.start("--log", str(log))
        text, _ = driver.communicate(timeout=LONGEST)
    expect(driver.returncode == 0, text)
    jobs = pd.read_parquet(on.root / "tables" / "jobs")
    jobs = jobs[jobs["status"] == "done"].set_index("key")
    given = [json.loads(line) for line in log.read_text().splitlines()]
    handed = {
        event["key"]: datetime.fromisoformat(event["time"]).astimezone()
        for event in given
        if event["event"] == "started"
    }
    waits = idle_share(on, jobs, sizes, handed)
    starts = idle_share(on, jobs, sizes, jobs["start"].to_dict())
    on.notes.append(f"idle while a job fits: {waits:.1%}; with starts of processes: {starts:.1%}")
    return 1


def node_drained(on: Ground) -> int:
    """With notice, as a spot machine is taken away; then another joins."""
    driver = on.start()
    for jobs in (5, 20):
        on.until(driver, jobs)
        leaving = next(iter(on.cluster.worker_nodes))
        client = ray._raylet.GcsClient(address=on.cluster.address)
        reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        deadline = time.time_ns() // 1_000_000 + 4000
        accepted, why = client.drain_node(leaving.node_id, reason, "taken away", deadline)
        expect(accepted, why)
        time.sleep(4)
        on.cluster.remove_node(leaving, allow_graceful=False)
        on.cluster.add_node(num_cpus=1)
    text, _ = driver.communicate(timeout=LONGEST)
    expect(driver.returncode == 0, text)
    expect("Traceback" not in text, text)
    return 2


def head_killed(on: Ground) -> int:
    """Its processes alone, then with it the node that the driver is on."""
    for all_of_it in (False, True):
        cluster = two_nodes()
        driver = on.start("--address", cluster.address)
        on.until(driver, 20 if all_of_it else 6)
        began = time.monotonic()
        head: Any = cluster.head_node
        if all_of_it:
            head.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
        else:
            head.kill_gcs_server(check_alive=False)
        text, _ = driver.communicate(timeout=LONGEST)
        on.notes.append(f"ended after {time.monotonic() - began:.0f} s")
        cluster.shutdown()
        expect(driver.returncode == 2, f"{driver.returncode}: {text}")
        expect("The same command goes on" in text, text)
        expect("Traceback" not in text, text)
    return 2


def terminated(on: Ground) -> int:
    """As Slurm and Kubernetes do it, at any moment."""
    driver = on.start()
    with contextlib.suppress(subprocess.TimeoutExpired):
        driver.communicate(timeout=random.uniform(4, 20))  # noqa: S311 - any moment
        return 0  # it was faster
    os.kill(driver.pid, signal.SIGTERM)
    text, _ = driver.communicate(timeout=LONGEST)
    expect(driver.returncode == 130, f"{driver.returncode}: {text}")
    expect("Give the same command again" in text, text)
    expect("Traceback" not in text, text)
    return 1


def two_nodes() -> Cluster:
    """Make a cluster of a head, which does nothing, and two nodes."""
    head = {"num_cpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    return cluster


@contextlib.contextmanager
def one_more(on: Ground, cpus: int) -> Iterator[Any]:
    """Have one more node."""
    node = on.cluster.add_node(num_cpus=cpus)
    try:
        yield node
    finally:
        if node in on.cluster.worker_nodes:
            on.cluster.remove_node(node, allow_graceful=False)


@contextlib.contextmanager
def bare_node(on: Ground) -> Iterator[None]:
    """Have one more node, which sees empty folders where others have images."""
    seen = sum(node["Alive"] for node in on.cluster.global_state.node_table())
    hidden = [images_of(on.work), os.environ["MRSWEEP_CACHE"]]
    steps = [shlex.join(["mount", "-t", "tmpfs", "tmpfs", str(folder)]) for folder in hidden]
    ray_command = [str(Path(sys.executable).with_name("ray")), "start", "--num-cpus=1", "--block"]
    steps.append("exec " + shlex.join([*ray_command, f"--address={on.cluster.address}"]))
    node = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", " && ".join(steps)], stdout=subprocess.DEVNULL
    )
    while sum(node["Alive"] for node in on.cluster.global_state.node_table()) <= seen:
        expect(node.poll() is None, "the node has ended")
        time.sleep(0.5)
    try:
        yield
    finally:
        node.terminate()
        node.wait()


def idle_share(
    on: Ground, jobs: pd.DataFrame, sizes: Mapping[str, int], begun: Mapping[str, Any]
) -> float:
    """Return the share of the nodes' time in which one had room for a job that was ready.

    Args:
        on: Where the sweep ran, once and whole.
        jobs: Its rows of ``jobs``, by key.
        sizes: The CPUs of the nodes.
        begun: When each job was given to its node.
    """
    first = min(begun.values())
    begin = {key: (begun[key] - first).total_seconds() for key in jobs.index}
    end = {key: (at - first).total_seconds() for key, at in jobs["end"].items()}
    plan = make_plan(read_sweep(on.file))
    ready = {key: max((end[p] for p in plan.jobs[key].parents), default=0.0) for key in begin}
    looks = [STEP * number for number in range(int(max(begin.values()) / STEP))]
    idle = 0
    for node, size in sizes.items():
        here = [key for key in begin if jobs["node_id"][key] == node]
        for at in looks:
            free = size - sum(jobs["cpus"][key] for key in here if begin[key] <= at < end[key])
            waiting = (key for key in begin if ready[key] <= at < begin[key])
            idle += any(jobs["cpus"][key] <= free for key in waiting)
    return idle / len(looks) / len(sizes)
