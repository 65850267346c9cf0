"""What a job says of itself while it runs: to the driver, which shows it and misses its silence."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
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
