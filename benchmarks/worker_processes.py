"""How long until a job's process can begin, and what memory is its own: new, forked, resident.

New is an interpreter of its own that imports what a job needs, as each job on a GPU had. All do the
same job, of which everything is there already, and are looked at as it says its first word.

Run: python benchmarks/worker_processes.py
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from orchestrator.planning.attempt import Order, encode_order
from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import parse_sweep
from orchestrator.worker.forked.owner import Forks

REPEATS = 5
SWEEP = """
name: processes
dataset: {name: generated, per_class: 40, test_per_class: 10}
architectures: [resnet8]
criteria: [l1]
sparsities: [0.5]
finetuning: {none: {epochs: 0}}
seeds: 1
dense: {objective: standard, epochs: 1}
threat: {eps: 8/255}
evaluation: {attacks: [fgsm], sanity_images: 0}
"""
NEW = """
import os, sys
import torchattacks
from orchestrator.planning.attempt import decode_order
from orchestrator.worker.job import perform

def tell(beat):
    print(os.getpid(), flush=True)
    sys.stdin.readline()
    tell.__globals__["tell"] = print

perform(decode_order(sys.argv[1]), "n", lambda beat: tell(beat))
"""
Seen = tuple[float, float, float, float]
"""Seconds of wall time, CPU seconds, MB of its own, MB shared with others; at the first word."""


def look(pid: int, start: float) -> Seen:
    """Return what a process took until now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    own = shared = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, size = line.partition(":")
        own += int(size.split()[0]) if name.startswith("Private_") and "Huge" not in name else 0
        shared += int(size.split()[0]) if name.startswith("Shared_") and "Huge" not in name else 0
    return time.perf_counter() - start, cpu, own / 1024, shared / 1024


def new(order: str) -> Seen:
    """Have a new interpreter do the job."""
    start = time.perf_counter()
    command = [sys.executable, "-c", NEW, order]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        process.stdout.readline()
        seen = look(process.pid, start)
        process.stdin.write("\n")
    return seen


def forked(forks: Forks, order: str, stays: bool) -> Seen:
    """Have a child do it."""
    first: list[Seen] = []
    start, before = time.perf_counter(), 0.0
    if forks._child is not None:
        before = look(forks._child.pid, start)[1]

    def hear(beat: dict[str, Any]) -> None:
        if not first:
            wall, cpu, *memory = look(beat["pid"], start)
            first.append((wall, cpu - before, *memory))

    forks.perform(order, "n", hear, stays)
    return first[0]


def main() -> None:
    """Print the table."""
    job = next(j for j in make_plan(parse_sweep(SWEEP)).jobs.values() if j.kind == "dense")
    with tempfile.TemporaryDirectory() as root:
        order = encode_order(Order(job, root, "cpu", process="fresh"))
        forks = Forks(f"benchmark-{os.getpid()}")
        start = time.perf_counter()
        forks.perform(order, "n", lambda _: None, stays=False)  # computes what is to be there
        first = time.perf_counter() - start
        ways: dict[str, list[Seen]] = {"new": [], "forked": [], "resident": []}
        for _ in range(REPEATS):  # in turn, so that a busy machine is as busy for each
            ways["new"].append(new(order))
            ways["forked"].append(forked(forks, order, stays=False))
            forked(forks, order, stays=True)
            ways["resident"].append(forked(forks, order, stays=True))
            forks._end()
        forks.close()
    print(f"the template, and the first job that computes everything: {first:.1f} s")
    print(
        "| process | first word after, s | CPU, s | memory of its own, MB | shared, MB | of new |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    before = statistics.median(seen[0] for seen in ways["new"])
    for name, looks in ways.items():
        wall, cpu, own, shared = (statistics.median(column) for column in zip(*looks, strict=True))
        print(
            f"| {name} | {wall:.2f} | {cpu:.2f} | {own:.0f} | {shared:.0f} | {wall / before:.3f} |"
        )
    print(json.dumps({"repeats": REPEATS, "processor": processor()}))


def processor() -> str:
    """Return the processor's name, as the kernel has it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))


if __name__ == "__main__":
    main()
