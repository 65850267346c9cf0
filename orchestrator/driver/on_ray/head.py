"""The head of a Ray cluster: whether it still answers.

Without it Ray ends the driver's process, in its own words and with its own exit code. It is given
more time than the driver has here.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time

SILENCE = 60.0
"""Seconds without an answer after which the head counts as lost; one may come back before."""
LOOK, ANSWER = 2.0, 5.0
"""Seconds between two looks at it; those that it has to answer one."""


class Head:
    """Looks at the head of a cluster, from a thread of its own.

    Args:
        address: Where its control store listens, as ``HOST:PORT``.
        silence: Seconds without an answer after which it counts as lost.
        look: Seconds between two looks.
    """

    def __init__(self, address: str, silence: float = SILENCE, look: float = LOOK):
        self.address, self._silence, self._pause = address, silence, look
        self.lost = threading.Event()
        self._over = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def leave(self) -> None:
        """Look no more."""
        self._over.set()

    def _look(self) -> None:
        silent: float | None = None
        while not self._over.wait(self._pause):
            if answers(self.address):
                silent = None
            else:
                silent = time.monotonic() if silent is None else silent
                if time.monotonic() - silent > self._silence:
                    self.lost.set()
                    return


def answers(address: str, seconds: float = ANSWER) -> bool:
    """Say whether something listens at an address."""
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError):
        socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()
        return True
    return False
