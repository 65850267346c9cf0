"""Heartbeats of jobs: workers send them to an actor beside the driver, which looks them through.

A process that is stopped cannot end itself at its time limit, nor say that it is: its silence does,
and the driver ends it from outside.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.driver.on_ray import nodes
from orchestrator.planning.attempt import Beat

NOTICE = 10.0
"""Seconds between two looks at whether a job's node is to go."""
ANSWER = 5.0
"""Seconds that the driver waits for what was heard."""


class Pulse:
    """Keeps the last heartbeat of every job, and of every epoch, until the driver looks."""

    def __init__(self) -> None:
        self._beats: dict[tuple[Any, ...], dict[str, Any]] = {}

    def tell(self, beat: dict[str, Any]) -> None:
        """Take in a heartbeat."""
        epoch = beat["epoch"] or {}
        about = (beat["key"], beat["attempt"], epoch.get("network"), epoch.get("epoch"))
        self._beats[about] = beat

    def heard(self) -> list[dict[str, Any]]:
        """Return what was heard since the last look, in its order."""
        beats, self._beats = list(self._beats.values()), {}
        return beats


class Listener:
    """The driver's end."""

    def __init__(self) -> None:
        here = ray.get_runtime_context().get_node_id()
        strategy = NodeAffinitySchedulingStrategy(here, soft=False)
        actor: Any = ray.remote(num_cpus=0, max_restarts=-1)(Pulse)
        self.pulse: Any = actor.options(scheduling_strategy=strategy).remote()

    def heard(self) -> list[Beat] | None:
        """Return what jobs said since the last look; None where that cannot be known now."""
        try:
            beats = ray.get(self.pulse.heard.remote(), timeout=ANSWER)
        except ray.exceptions.RayError:
            return None
        return [Beat(**beat) for beat in beats]


@contextlib.contextmanager
def noticed(node: str, leave: Callable[[], None], every: float = NOTICE) -> Iterator[None]:
    """Call ``leave`` once the cluster is told that a node is to go; asked every so often."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(every):
            if node in nodes.leaving():
                leave()
                return

    threading.Thread(target=look, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def end_process(beat: Beat) -> None:
    """End a job's process from outside it, on its own node; one that is stopped ends too."""
    if beat.node is not None:
        there = NodeAffinitySchedulingStrategy(beat.node, soft=False)
        _kill.options(scheduling_strategy=there).remote(beat.pid)


@ray.remote(num_cpus=0, max_retries=0)
def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself
        os.kill(pid, signal.SIGKILL)
