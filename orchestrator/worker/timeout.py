"""Time limits: a job that hangs ends with its process, and says where it hung."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator

EXIT = 75
"""Exit status of a process that was ended for its time limit."""
GRACE = 30.0
"""Seconds for the row of a job that hangs; where Python itself hangs, nothing writes one."""


@contextlib.contextmanager
def time_limit(seconds: float | None, write_row: Callable[[str], None]) -> Iterator[None]:
    """End this process if what is within takes longer; ``write_row`` is handed where it hung."""
    if seconds is None:
        yield
        return
    thread = threading.get_ident()

    def end() -> None:
        frame = sys._current_frames().get(thread)
        where = "".join(traceback.format_stack(frame)) if frame else ""
        try:
            write_row(f"took more than {seconds:g} s, and was here:\n{where}")
        finally:
            os._exit(EXIT)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    # A library that holds Python's lock would stop the timer too; this one needs no lock.
    faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=sys.__stderr__ or 2)
    try:
        yield
    finally:
        timer.cancel()
        faulthandler.cancel_dump_traceback_later()
