"""What the orchestrator costs: no-op jobs, memory, a demo's overhead, sharing, a large cluster.

    python benchmarks/orchestration.py [rate] [overhead] [simulation] [plan]

Ratios are of one run on one machine. `overhead` runs sweeps/demo.yaml whole.
"""

from __future__ import annotations

import heapq
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pandas as pd

from orchestrator.driver.executors import RAY_ENVIRONMENT

DEMO = Path(__file__).parents[1] / "sweeps" / "demo.yaml"
NO_OPS, PLAIN = 10_000, 60
SPREAD = 0.25
"""Of the logarithm of seconds among jobs of equal work in the simulation; see `overhead`."""
SWEEP = """
name: many
dataset: digits
architectures: [resnet8, vgg8]
criteria: [random, l1, l2, lamp]
sparsities: [0.3, 0.5, 0.7, 0.9]
finetuning: {none: {epochs: 0}, pgd: {objective: pgd, epochs: 4, lr: 0.05}}
seeds: SEEDS
dense: {objective: pgd, epochs: 12, lr: 0.05}
threat: {eps: 0.15}
evaluation: {attacks: [fgsm, pgd-20], sanity_images: 0}
"""
"""49 jobs for every dense network: itself, 16 prunings, 32 trials."""


class Watch:
    """Follows a launch: when jobs ended, and the driver's resident memory."""

    def __init__(self) -> None:
        self.ended_at: list[float] = []
        self.memory: list[tuple[int, float]] = []

    def started(self, job: Any) -> None:
        """Nothing to note."""

    def ended(self, job: Any, outcome: Any, lost: Collection[str]) -> None:
        """Note the time, and now and then the memory."""
        del job, outcome, lost
        self.ended_at.append(time.perf_counter())
        if len(self.ended_at) % 1000 == 1:
            self.memory.append((len(self.ended_at), resident()))


def resident() -> float:
    """Return this process's resident memory in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def plan_of(seeds: int) -> Any:
    from orchestrator.planning.plan import make_plan
    from orchestrator.sweepfile.model import parse_sweep

    return make_plan(parse_sweep(SWEEP.replace("SEEDS", str(seeds))))


def plain_tune() -> float:
    """Return trials a second of Ray Tune with its defaults, on trials that do nothing."""
    code = (
        "import time, ray; from ray import tune; "
        "ray.init(address='local', num_cpus=2, include_dashboard=False, log_to_driver=False); "
        "began = time.perf_counter(); "
        f"tune.Tuner(lambda config: tune.report({{'x': 1}}), "
        f"tune_config=tune.TuneConfig(num_samples={PLAIN}), "
        "run_config=tune.RunConfig(verbose=0)).fit(); "
        "print(time.perf_counter() - began)"
    )
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True,
                           capture_output=True, text=True)  # fmt: skip
    return PLAIN / float(found.stdout.split()[-1])


def rate() -> None:
    """No-op jobs through the whole of our executor: leases, orders, rows; not their work."""
    plain = plain_tune()
    os.environ.update(RAY_ENVIRONMENT)
    from orchestrator.driver import executors
    from orchestrator.driver.launch import Launch
    from orchestrator.driver.on_ray import tune as on_tune
    from results.tables.storage import Storage

    ours = on_tune.trainable_for

    def trainable_for(*given: Any) -> Callable[[dict[str, Any]], None]:
        do = ours(*given)

        def nothing(config: dict[str, Any]) -> None:
            from orchestrator.worker import job as jobs

            jobs._do = lambda *_: None
            do(config)

        return nothing

    on_tune.trainable_for = trainable_for
    plan = plan_of(math.ceil(NO_OPS / 98))
    with tempfile.TemporaryDirectory() as root:
        watch = Watch()
        with executors.opened("ray", "cpu", 1, 2, None) as cluster:
            executors.run(Launch(plan, Storage(root), cluster.device, watch), cluster)
        watch.memory.append((len(watch.ended_at), resident()))
    jobs, first = len(watch.ended_at), watch.ended_at[0]
    ours_rate = (jobs - 1) / (watch.ended_at[-1] - first)
    print(f"| jobs a second that do nothing | {ours_rate:.1f} of {jobs:,} |")
    print(f"| Ray Tune with its defaults | {plain:.2f} of {PLAIN} |")
    print(f"| ratio | {ours_rate / plain:.0f} |")
    print("| driver's memory, MB, by jobs | "
          + ", ".join(f"{count:,}: {size:.0f}" for count, size in watch.memory) + " |")  # fmt: skip


def overhead() -> None:
    """The demo sweep: core time outside jobs, and what sharing of stages saves."""
    with tempfile.TemporaryDirectory() as root:
        began = time.perf_counter()
        command = ["run", str(DEMO), "--storage", root, "--device", "cpu", "--workers", "2"]
        subprocess.run([sys.executable, "-m", "orchestrator", *command], check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        wall = time.perf_counter() - began
        jobs = pd.read_parquet(Path(root) / "tables" / "jobs").set_index("key")
    spent = float(jobs["seconds"].sum())
    idle = 1 - spent / (2 * wall)
    span = (jobs["end"].max() - jobs["start"].min()).total_seconds()
    print(f"| demo: wall time, start-up and report included | {wall:.0f} s on two cores |")
    print(f"| its core time not spent in jobs | {idle:.1%} |")
    inner = 1 - spent / span / 2
    print(f"| the same from the first job's start to the last one's end | {inner:.1%} |")
    logs = jobs["seconds"].map(math.log)
    within = logs.groupby([jobs["kind"], jobs["architecture"], jobs["batch_size"].fillna(0)]).std()
    print(f"| spread of the logarithm of seconds within kinds | {within.median():.2f} |")
    sharing(jobs, spent)


def sharing(jobs: pd.DataFrame, spent: float) -> None:
    """Compare with every trial from scratch; a few are run so, the others added up."""
    from orchestrator.planning.plan import make_plan
    from orchestrator.sweepfile.model import read_sweep

    plan = make_plan(read_sweep(DEMO))

    def alone(key: str) -> float:
        needed, stack = set(), [key]
        while stack:
            if (found := stack.pop()) not in needed:
                needed.add(found)
                stack += plan.jobs[found].parents
        return float(jobs.loc[sorted(needed), "seconds"].sum())

    scratch = {key: alone(key) for key in plan.trials}
    measured, predicted = 0.0, 0.0
    chosen = random.Random(0).sample(sorted(scratch), 3)  # noqa: S311 - no secret
    for key in chosen:
        levels = ",".join(f"{k}={v}" for k, v in plan.trials[key].labels.items())
        with tempfile.TemporaryDirectory() as root:
            command = ["trial", str(DEMO), "--select", levels, "--storage", root, "--device", "cpu"]
            subprocess.run([sys.executable, "-m", "orchestrator", *command], check=True,
                           stdout=subprocess.DEVNULL)  # fmt: skip
            measured += float(pd.read_parquet(Path(root) / "tables" / "jobs")["seconds"].sum())
        predicted += scratch[key]
    total = sum(scratch.values())
    print(f"| compute of the demo's {len(scratch)} trials, shared | {spent:.0f} core-seconds |")
    times = f"{total / spent:.1f} times"
    print(f"| each from scratch, added up from the same jobs | {total:.0f}: {times} |")
    print(f"| three of them really run from scratch | {measured:.0f} s, added up {predicted:.0f} |")


def simulation(devices: int = 1000) -> None:
    """A cluster that is simulated, over the real planner and launch; jobs of minutes."""
    from orchestrator.driver.launch import Launch
    from orchestrator.planning.attempt import AttemptResult
    from results.tables.storage import Storage

    latency = 1 / 40  # of handing out a job, one after the other: see rate
    for seeds in (500, 50):
        draw = random.Random(0)  # noqa: S311 - no secret
        plan = plan_of(seeds)
        with tempfile.TemporaryDirectory() as root:
            launch = Launch(plan, Storage(root), "cpu", Watch())
            now, free, last = 0.0, devices, 0.0
            running: list[tuple[float, str]] = []
            spans: list[tuple[float, float]] = []
            while not launch.finished:
                order = launch.take() if free else None
                if order is not None:
                    now += latency
                    seconds = 20 * order.job.weight * draw.lognormvariate(0, SPREAD)
                    heapq.heappush(running, (now + seconds, order.job.key))
                    spans.append((now, now + seconds))
                    free, last = free - 1, now
                    continue
                end, key = heapq.heappop(running)
                now, free = max(now, end), free + 1
                launch.report(AttemptResult(key, "done"))
        # What runs on after the last job was handed out is the last wave.
        busy = sum(min(end, last) - start for start, end in spans)
        idle = 1 - busy / (devices * last)
        print(f"| {devices} devices, {2 * seeds:,} dense networks, {len(plan.jobs):,} jobs: "
              f"idle until the last wave | {idle:.1%} of {last / 3600:.1f} h |")  # fmt: skip


def planning() -> None:
    """A plan of 100,000 trials: made, compared with storage, in a process of its own."""
    code = f"""
import resource, sys, time
from orchestrator.planning.plan import make_plan
from orchestrator.state.survey import survey
from orchestrator.sweepfile.model import parse_sweep
from results.tables.storage import Storage
sweep = parse_sweep({SWEEP.replace("SEEDS", "1563")!r})
began = time.perf_counter()
plan = make_plan(sweep)
made = time.perf_counter() - began
plan.path_weights
began = time.perf_counter()
state = survey(plan, Storage(sys.argv[1]))
compared = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
heavy = [name for name in ("torch", "ray") if name in sys.modules]
print(f"| plan of {{len(plan.trials):,}} trials, {{len(plan.jobs):,}} jobs | {{made:.1f}} s, "
      f"{{peak:.0f}} MB, loads {{heavy or 'neither torch nor ray'}} |")
print(f"| compared with an empty storage root | {{compared:.2f}} s |")
began = time.perf_counter()
from orchestrator.state.rows import failed_row
from results.tables.store import Tables
from results.tables.fold import Folder
tables = Tables(Storage(sys.argv[1]))
jobs = plan.trials.values()
rows = [{{**failed_row(job.stage, job.labels, "none"), "status": "done"}} for job in jobs]
tables.write("trials", rows)
tables.commit()
Folder(Storage(sys.argv[1])).fold()
began = time.perf_counter()
state = survey(plan, Storage(sys.argv[1]))
print(f"| compared with one that has them all | {{time.perf_counter() - began:.2f}} s, "
      f"{{len(state.needed)}} left |")
"""
    with tempfile.TemporaryDirectory() as root:
        subprocess.run([sys.executable, "-c", code, root], check=True)


PARTS = {"rate": rate, "overhead": overhead, "simulation": simulation, "plan": planning}


def main() -> None:
    print("| what | measured |")
    print("| --- | --- |")
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()
        sys.stdout.flush()


if __name__ == "__main__":
    main()
