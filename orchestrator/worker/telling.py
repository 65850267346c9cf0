"""What a job says of itself while it runs: to the driver, which shows it and misses its silence."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.planning.attempt import Beat, Order

Tell = Callable[[Beat], None]


def unheard(_: Beat) -> None:
    """Tell nobody."""


def first_beat(order: Order, node: str | None) -> Beat:
    """Return what a job says of itself before it begins."""
    return Beat(order.job.key, order.attempt, platform.node(), os.getpid(), node)


class Telling:
    """The last that one attempt said; each change is told."""

    def __init__(self, beat: Beat | None = None, tell: Tell = unheard):
        self._beat = beat or Beat("", 1, "", 0)
        self._tell = tell

    def say(self, **changes: Any) -> None:
        """Tell what has changed; see `orchestrator.planning.attempt.Beat`."""
        self._beat = replace(self._beat, **changes)
        self._tell(self._beat)

    def epoch(self, row: Mapping[str, Any], of: int, pace: float) -> None:
        """Tell that an epoch of a training has ended.

        Args:
            row: Its row of ``epochs``.
            of: The epochs of the whole training.
            pace: Seconds that an epoch has taken so far, on average.
        """
        done = row["epoch"]
        self.say(doing=f"epoch {done}/{of}", epoch=row, seconds_left=(of - done) * pace)
