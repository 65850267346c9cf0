"""The executor on Ray; see `orchestrator.driver.executors`."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import ray

from orchestrator.driver.launch import Launch, ResourceError
from orchestrator.driver.on_ray.head import Head
from orchestrator.driver.on_ray.pulse import Listener
from orchestrator.driver.on_ray.supply import Supply
from orchestrator.driver.on_ray.tune import Jobs, tune_jobs

LOOK = 0.2
"""Seconds between two moments at which an interruption is taken."""
END = 15.0
"""Seconds that Tune has to end after an interruption."""


@dataclass(frozen=True)
class Cluster:
    """An executor; see `orchestrator.driver.executors`."""

    device: str
    scratch: str
    """A folder for what Tune writes; nobody reads it."""
    patience: float
    """Seconds to wait for a node that could do what is left."""
    grows: bool = False
    """Whether an autoscaler may add nodes."""

    def execute(self, launch: Launch) -> None:
        """Do every job of a launch on the cluster.

        Tune runs beside the main thread, which takes interruptions: raised within Ray, they would
        come out as anything.

        Raises:
            ResourceError: There are jobs that it could never start, or its head is lost.
        """
        supply = Supply(launch, self.patience, self.grows)
        supply.check()
        jobs = Jobs(launch, supply, Listener())
        thread = threading.Thread(target=tune_jobs, args=(jobs, self.scratch), daemon=True)
        thread.start()
        head = Head(ray.get_runtime_context().gcs_address)
        try:
            while thread.is_alive():
                thread.join(LOOK)
                if head.lost.is_set():
                    jobs.abandon()
                    thread.join(END)
                    raise ResourceError(
                        f"the head of the Ray cluster, {head.address}, does not answer any more. "
                        "Finished work is kept. The same command goes on, there or on another"
                    )
        except KeyboardInterrupt:
            jobs.abandon()
            thread.join(END)
            raise
        finally:
            head.leave()
            if not head.lost.is_set():
                supply.close()
        if jobs.failure is not None:
            raise jobs.failure
