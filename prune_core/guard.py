"""What a user's own method reads besides what it is given: images that it may not see.

A look at test images is heard of whenever a method of the user's own is at work. Where a guard
holds, so is what Python opens, by its audit events. Files that compiled code opens by itself are
not heard of, and neither is a copy that was made before.

Source:
    PEP 578, runtime audit hooks.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from prune_core.errors import StrayReadError

CLOSED = ("criteria", "allocations", "sensitivities", "objectives", "schedules")
"""Axes whose methods read what they are given alone."""
CODE = (".py", ".pyc", ".so", ".pyd", ".pth", ".dylib")
"""Files that an import opens."""
ELSEWHERE = {
    "subprocess.Popen": "another process", "os.system": "another process",
    "os.fork": "another process", "os.posix_spawn": "another process", "os.exec": "another process",
    "socket.connect": "the network", "_thread.start_new_thread": "another thread",
}  # fmt: skip
"""Where nothing more is heard of what a method reads, by the event that tells of it."""
SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/")

_guarding: ContextVar[bool] = ContextVar("guarding", default=False)
_at_work: ContextVar[_AtWork | None] = ContextVar("at_work", default=None)


class _AtWork:
    """A method at work: what it may open, and what it read besides."""

    def __init__(self, module: str, allowed: tuple[str, ...], guarded: bool) -> None:
        self.module = module
        self.allowed = allowed
        self.guarded = guarded
        self.read: dict[str, str] = {}
        """What, and where in the user's code."""

    def hear(self, what: str) -> None:
        self.read.setdefault(what, _place(self.module))


@contextmanager
def guarded() -> Iterator[None]:
    """While it holds, a user's own method that opens what it may not is refused."""
    _hook()
    token = _guarding.set(True)
    try:
        yield
    finally:
        _guarding.reset(token)


def watched(
    function: Callable[..., Any], axis: str, name: str, files: tuple[str, ...]
) -> Callable[..., Any]:
    """Return a method, watched if it is a user's own.

    Args:
        function: The method.
        axis: What it is one of.
        name: What users call it, such as ``mine:best``.
        files: Those that it declares beside its module.

    Returns:
        The function; it raises StrayReadError after a call that read what it was not given. One of
        ours, or of an axis that sees test images by right, is as it was.
    """
    module = str(getattr(function, "__module__", type(function).__module__))
    if axis not in CLOSED or module.startswith("prune_core.") or not callable(function):
        return function
    home = Path(getattr(sys.modules[module], "__file__", None) or "").absolute().parent
    paths = tuple(str(home / file) for file in files)

    @functools.wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        if _at_work.get() is not None:
            return function(*given, **named)
        work = _AtWork(module, paths, _guarding.get())
        token = _at_work.set(work)
        try:
            return function(*given, **named)
        finally:
            _at_work.reset(token)
            if work.read:
                read = "; ".join(f"{what} ({where})" for what, where in work.read.items())
                raise StrayReadError(f"{axis}: {name} reads what it is not given: {read}")

    with contextlib.suppress(ValueError):  # written in C, it has none that Python knows
        # What is called is the function itself, and not what it may wrap.
        call.__dict__["__signature__"] = inspect.signature(function, follow_wrapped=False)
    return call


def looked_at_test_images() -> None:
    """Tell that test images are looked at: no method of the user's own may."""
    if (work := _at_work.get()) is not None:
        work.hear("the test images of the data set")


def _hear(event: str, given: tuple[Any, ...]) -> None:
    if (work := _at_work.get()) is None or not work.guarded:
        return
    if event in ELSEWHERE:
        work.hear(ELSEWHERE[event])
    if event != "open":
        return
    path, mode, _ = given
    if not isinstance(path, str | bytes) or (isinstance(mode, str) and "r" not in mode):
        return
    name = path if isinstance(path, str) else path.decode(errors="replace")
    if name.startswith(SYSTEM) or name.endswith(CODE):
        return
    if str(Path(name).absolute()) not in work.allowed:
        work.hear(f"the file {name}")


@functools.cache
def _hook() -> None:
    """Begin to hear; Python has no way to end it, so that it is done once and only for a guard."""
    sys.addaudithook(_hear)


def _place(module: str) -> str:
    """Return the line of the user's module that is at work, the innermost one."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") == module:
            return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]  # None ends it
    return "elsewhere"
