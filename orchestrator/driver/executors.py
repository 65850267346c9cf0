"""Executors: what runs the jobs of a launch, while leases are held and interruptions are taken."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.driver.launch import Launch, ResourceError
from orchestrator.planning.plan import Plan
from orchestrator.state.content import Classes, record_images
from orchestrator.state.patience import give_up
from results.tables.load import STAGES_FILE
from results.tables.storage import Storage

PATIENCE = 900.0
"""Seconds that a run waits for what is gone and may come back: storage, nodes."""
RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",  # nobody on this network runs code here without the token
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # twice as fast; the tables are the truth
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # nobody restores from Tune's account of the run
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # interruptions are taken here
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",  # no more are handed out than there is room for
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "180",  # a lost head is told of before; see `Head`
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a job without a GPU sees none
    "OMP_NUM_THREADS": "1",
}
"""Read by Ray at its import."""


class Executor(Protocol):
    """Where jobs run."""

    @property
    def device(self) -> str:
        """What they compute on, ``auto`` resolved."""

    def execute(self, launch: Launch) -> None:
        """Do every job of a launch, as long as it hands any out."""


def record_plan(plan: Plan, storage: Storage, text: str, classes: Classes | None = None) -> None:
    """Write the sweep's folder: the file as run, what its images are, the plan's trial ids."""
    name = plan.sweep.name
    storage.write(text.encode(), "sweeps", name, "sweep.yaml")
    stages = pa.table({"key": sorted(plan.stages())})
    for what, rows in (("plan.parquet", pa.Table.from_pylist(plan.rows())), (STAGES_FILE, stages)):
        buffer = pa.BufferOutputStream()
        pq.write_table(rows, buffer)
        storage.write(buffer.getvalue().to_pybytes(), "sweeps", name, what)
    record_images(plan.sweep, storage, classes)


@contextlib.contextmanager
def opened(
    name: str,
    device: str,
    cpus: float,
    workers: int | None,
    address: str | None,
    patience: float = PATIENCE,
) -> Iterator[Executor]:
    """Open the executor ``ray`` or ``inline``; whatever was started for it ends with it.

    Args:
        name: Which one.
        device: What jobs are to compute on. ``auto`` is what the cluster has.
        cpus: Processor cores of a job.
        workers: Jobs at once on this machine; by default as many as its cores allow.
        address: A Ray cluster to join; by default one is made on this machine.
        patience: Seconds to wait for nodes that could do what is left.

    Raises:
        ResourceError: No cluster answers.
    """
    if name == "inline":
        from orchestrator.driver.inline import Inline

        yield Inline(device)
        return
    for variable, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    try:
        Path.home()
    except RuntimeError:  # no entry of this user, as in some containers; ray insists on a home
        os.environ["HOME"] = tempfile.gettempdir()
    from orchestrator.driver.on_ray.join import joined

    jobs = workers or max(1, int((os.cpu_count() or 1) / cpus))
    with joined(device, math.ceil(jobs * cpus), address, patience) as cluster:
        yield cluster


def run(launch: Launch, executor: Executor, on_stop: Callable[[], None] = lambda: None) -> None:
    """Run everything that is left; ``on_stop`` hears of Ctrl-C.

    Raises:
        KeyboardInterrupt: At the second Ctrl-C, and when the process is asked to terminate.
    """
    with launch.leases, _interruptions(launch, on_stop):
        launch.leases.expire()
        launch.upkeep.fold()  # what an earlier driver left
        try:
            executor.execute(launch)
        except KeyboardInterrupt:
            give_up(launch.storage)
            raise
        except ResourceError:
            launch.upkeep.finish()  # what is done is whole, and storage is well
            raise
        launch.upkeep.finish()


@contextlib.contextmanager
def _interruptions(launch: Launch, on_stop: Callable[[], None]) -> Iterator[None]:
    """Let running jobs end at the first Ctrl-C; stop at once at the second, or when terminated."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return

    def interrupt(number: int, _: FrameType | None) -> None:
        if launch.stopping or number == signal.SIGTERM:
            raise KeyboardInterrupt
        launch.stop()
        on_stop()

    before = {
        number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
