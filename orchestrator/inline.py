"""The executor without Ray: one job after the other, in this process."""

from __future__ import annotations

from orchestrator.jobs import perform
from orchestrator.launch import Launch


def execute(launch: Launch) -> None:
    """Do every job of a launch here."""
    root = launch.storage.root
    while not launch.finished:
        job = launch.take()
        if job is None:
            raise RuntimeError("no job can start, and none is running: the plan has a cycle")
        attempt = launch.scheduler.attempt(job.key)
        launch.report(perform(job, root, launch.device, launch.keep, attempt))
