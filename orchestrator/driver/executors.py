"""Execution: a launch handed to an executor, leases held and interruptions taken meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.driver.launch import Launch
from orchestrator.planning.plan import Plan
from results.tables.storage import Storage

RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",  # nobody on this network runs code here without the token
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # twice as fast; the tables are the truth
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # nobody restores from Tune's account of the run
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # interruptions are taken here
    "TUNE_MAX_PENDING_TRIALS_PG": "8",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a job without a GPU sees none
    "OMP_NUM_THREADS": "1",
}
"""Read by Ray at its import."""


def record_plan(plan: Plan, storage: Storage, text: str) -> None:
    """Write the sweep's folder: the file as run, and the plan with its trial ids."""
    name = plan.sweep.name
    storage.write(text.encode(), "sweeps", name, "sweep.yaml")
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(plan.rows()), buffer)
    storage.write(buffer.getvalue().to_pybytes(), "sweeps", name, "plan.parquet")


def run(
    launch: Launch,
    executor: str,
    workers: int | None,
    address: str | None,
    on_stop: Callable[[], None] = lambda: None,
) -> None:
    """Run everything that is left, with ``ray`` or ``inline``; ``on_stop`` hears of Ctrl-C.

    Raises KeyboardInterrupt at the second Ctrl-C, and when the process is asked to terminate.
    """
    with launch.leases, _interruptions(launch, on_stop):
        if executor == "inline":
            from orchestrator.driver.inline import execute as execute_inline

            execute_inline(launch)
            return
        for name, value in RAY_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from orchestrator.driver.ray_tune import execute

        execute(launch, workers, address)


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
