"""What a job says of itself while it runs: to the driver, which shows it and misses its silence."""

from __future__ import annotations

import contextlib
import os
import platform
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.planning.attempt import Beat, Order

Tell = Callable[[Beat], None]
EVERY = 10.0
"""Seconds between two heartbeats of a job that has nothing new to say."""


def unheard(_: Beat) -> None:
    """Tell nobody."""


def first_beat(order: Order, node: str | None) -> Beat:
    """Return what a job says of itself before it begins."""
    return Beat(order.job.key, order.attempt, platform.node(), os.getpid(), node)


@contextlib.contextmanager
def repeated(tell: Tell) -> Iterator[Tell]:
    """Tell, and once more every so often while this process lives and works."""
    last: list[Beat] = []
    over = threading.Event()

    def anew(beat: Beat) -> None:
        last[:] = [beat]
        tell(beat)

    def repeat() -> None:
        while not over.wait(EVERY):
            for beat in last:
                tell(beat)

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield anew
    finally:
        over.set()
        thread.join()


class Telling:
    """The last that one attempt said; each change is told."""

    def __init__(self, beat: Beat | None = None, tell: Tell = unheard):
        self._beat = beat or Beat("", 1, "", 0)
        self._tell = tell

    def say(self, **changes: Any) -> None:
        """Tell what has changed; see `orchestrator.planning.attempt.Beat`."""
        self._beat = replace(self._beat, **changes)
        self._tell(self._beat)

    def epoch(self, history: Sequence[Mapping[str, Any]], of: int, network: str) -> None:
        """Tell that an epoch of a training has ended.

        Args:
            history: What each epoch so far has come to.
            of: The epochs of the whole training.
            network: The key of what is trained.
        """
        done, pace = len(history), sum(epoch["seconds"] for epoch in history) / len(history)
        last = {"network": network, **history[-1]}
        self.say(doing=f"epoch {done}/{of}", epoch=last, seconds_left=(of - done) * pace)
