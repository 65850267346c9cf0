"""A storage root at scale: its files, `status`, drivers beside compaction, requests to S3.

    python benchmarks/scale.py [files] [drivers] [requests]

Jobs write rows as real ones do and compute nothing; `requests` runs a tiny sweep on a server of
the S3 protocol in this process.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from orchestration import SWEEP

from orchestrator.planning.plan import Job, Plan, make_plan
from orchestrator.state import rows
from orchestrator.state.upkeep import MANY, fold_all
from orchestrator.sweepfile.model import parse_sweep
from prune_core.specs.stages import STAGES, Trial
from results.tables.fold import Folder
from results.tables.storage import Storage
from results.tables.store import Tables

TRIALS = 20_000
TINY = SWEEP.replace("digits", "{name: digits, per_class: 20, test_per_class: 5}").replace(
    "pgd, epochs: 12", "standard, epochs: 1"
).replace("pgd, epochs: 4", "standard, epochs: 1")  # fmt: skip
DRIVER = """
import sys
sys.path.insert(0, {here!r})
from scale import pretend
from orchestrator.worker import job
job._do = pretend
sys.argv = ["mrsweep", "run", {file!r}, "--storage", {root!r}, "--executor", "inline",
            "--device", "cpu"]
from orchestrator.__main__ import main
main()
"""


def rows_of(job: Job) -> dict[str, list[dict[str, Any]]]:
    """Return what a job writes, numbers made up."""
    stage = job.stage
    written: dict[str, list[dict[str, Any]]] = {}
    evaluated = [rows.evaluation_row(e, [True] * 360, 0.5, 1.0) for e in job.evaluations]
    if evaluated:
        written["evaluations"] = evaluated
    if isinstance(stage, Trial):
        levels = rows.levels_row(stage, job.labels or {})
        written["trials"] = [{**levels, **rows.metrics("finetuned", evaluated), "status": "done"}]
        if stage.trainings:
            key = stage.network.key
            written["epochs"] = [{"network": key, "epoch": e, "loss": 0.5} for e in range(1, 5)]
    if job.kind == "prune":
        modules = [{"network": stage.key, "module": f"layer{n}", "ratio": 0.5} for n in range(10)]
        written["modules"] = modules
    return written


def pretend(order: Any, materializer: Any) -> None:
    """Write what a job writes."""
    job = order.job
    if not isinstance(job.stage, Trial):
        result = STAGES[job.kind].result or ""
        materializer.artifacts.storage.write(b"x", "artifacts", job.kind, job.key, result)
    for table, part in rows_of(job).items():
        materializer.tables.write(table, part)


def plan_of(seeds: int) -> Plan:
    """Return a plan of 64 trials a seed."""
    return make_plan(parse_sweep(SWEEP.replace("SEEDS", str(seeds))))


def count_of(root: str) -> int:
    """Return how many files and folders lie below a root."""
    return sum(len(files) + len(folders) for _, folders, files in os.walk(root))


def files() -> None:
    """Rows of 20,000 trials, a commit a job, folded as a driver does; `status` in between."""
    plan = plan_of(round(TRIALS / 64))
    with tempfile.TemporaryDirectory() as root:
        file = Path(root) / "many.yaml"
        file.write_text(SWEEP.replace("SEEDS", str(round(TRIALS / 64))))
        storage, most, spent, last, trials = Storage(root), 0, 0.0, 0.0, 0
        folder = Folder(storage)
        for number, job in enumerate(plan.jobs.values(), 1):
            tables = Tables(storage, f"{job.key}-1")
            for table, part in rows_of(job).items():
                tables.write(table, part)
            job_row = {"key": job.key, "attempt": 1, "kind": job.kind, "status": "done",
                       "architecture": job.architecture, "seconds": 1.0, "cpus": 1.0,
                       "start": rows.now(), "end": rows.now(), "node": "n"}  # fmt: skip
            tables.write("jobs", [job_row])
            tables.commit()
            trials += isinstance(job.stage, Trial)
            if number % MANY == 0 or number == len(plan.jobs):
                most = max(most, count_of(root))
                began = time.process_time()
                folder.fold()
                last = time.process_time() - began
                spent += last
            if number in (len(plan.jobs) // 4, len(plan.jobs) // 2, len(plan.jobs)):
                print(f"| `status` at {trials:,} of {len(plan.trials):,} trials done, CPU | "
                      f"{command('status', file, root):.1f} s |", flush=True)  # fmt: skip
        print(f"| files and folders at any moment, {len(plan.jobs):,} jobs | at most {most:,} |")
        size = sum(path.stat().st_size for path in Path(root).rglob("*.parquet")) / 1e6
        print(f"| files at the end | {count_of(root)}, {size:.0f} MB |")
        print(f"| folding, CPU a job; the last fold | {1000 * spent / len(plan.jobs):.1f} ms; "
              f"{last:.1f} s |")  # fmt: skip
        began = time.perf_counter()
        Tables(storage).find("evaluations", plan.trials[next(iter(plan.trials))].evaluations[0].key)
        print(f"| an evaluation found | {1000 * (time.perf_counter() - began):.0f} ms |")
        print(f"| `check`, CPU | {command('check', None, root):.1f} s |")


def command(name: str, file: Path | None, root: str) -> float:
    """Return the seconds of CPU that a command takes."""
    words = [sys.executable, "-m", "orchestrator", name, *([str(file)] if file else [])]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*words, "--storage", root], stdout=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def drivers() -> None:
    """Two and five drivers on one sweep, compaction in a loop beside them, and a reader."""
    for number in (2, 5):
        with tempfile.TemporaryDirectory() as root:
            file = Path(root) / "many.yaml"
            file.write_text(SWEEP.replace("SEEDS", "2"))
            code = DRIVER.format(here=str(Path(__file__).parent), file=str(file), root=root)
            running = [
                subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
                for _ in range(number)
            ]
            storage, folds, looks, doubled = Storage(root), 0, 0, 0
            while any(driver.poll() is None for driver in running):
                time.sleep(0.5)
                fold_all(storage)
                folds += 1
                with contextlib.suppress(FileNotFoundError):
                    for table, key in (("trials", "trial_id"), ("evaluations", "key")):
                        folder = storage.path("tables", table)
                        keys = pq.read_table(folder, columns=[key])[key].to_pylist()
                        doubled += len(keys) - len(set(keys))
                        looks += 1
            jobs = Tables(storage).read("jobs", ["key", "status"])
            trials = Tables(storage).read("trials", ["trial_id"])["trial_id"]
            plan = plan_of(2)
            again = int(jobs[jobs["status"] == "done"]["key"].duplicated().sum())
            lost = len(plan.trials) - trials.nunique()
            print(f"| {number} drivers, {len(plan.jobs)} jobs, {folds} compactions, {looks} "
                  "reads of the bare folders: done twice; lost; rows seen twice | "
                  f"{again}; {lost}; {doubled} |", flush=True)  # fmt: skip


def requests() -> None:
    """A sweep on S3, and the same command again."""
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "user", "AWS_SECRET_ACCESS_KEY": "none",  # pragma: allowlist secret
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    import logging

    import aiobotocore.client
    import fsspec
    from moto.server import ThreadedMotoServer

    from orchestrator.cli.main import app

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with contextlib.redirect_stdout(io.StringIO()):
        server.start()
    host, port = server.get_host_and_port()
    os.environ["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"
    calls: Counter[str] = Counter()
    made = aiobotocore.client.AioBaseClient._make_api_call

    async def counted(self: Any, name: str, given: Any) -> Any:
        calls[name] += 1
        return await made(self, name, given)

    aiobotocore.client.AioBaseClient._make_api_call = counted
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir("bucket")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "many.yaml"
        file.write_text(TINY.replace("SEEDS", "1").replace(", vgg8", "").replace(", l2, lamp", ""))
        plan = make_plan(parse_sweep(file.read_text()))
        words = ["--storage", "s3://bucket/runs", "--executor", "inline", "--device", "cpu"]
        for what in ("of a sweep", "of the same command again"):
            calls.clear()
            with contextlib.redirect_stdout(io.StringIO()):
                app(["run", str(file), *words], standalone_mode=False)
            print(f"| requests to S3 {what}, {len(plan.jobs)} jobs, report included | "
                  f"{calls.total()}: {dict(calls)} |", flush=True)  # fmt: skip
    server.stop()


PARTS = {"files": files, "drivers": drivers, "requests": requests}


def main() -> None:
    """Print the table."""
    print("| what | measured |\n| --- | --- |")
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
