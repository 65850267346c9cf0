"""What a user's own method reads besides what it is given: images, and files that no key has.

A look at test images is heard of whenever a method of the user's own is at work, and so is a file
of the user's that Python opens, by its audit events: keys have the method's code and the files that
it declares, and an edit of any other would change numbers and not the keys. Where a guard holds,
everything that it opens is. Files that compiled code opens by itself are not heard of, and neither
is a copy that was made before.

Source:
    PEP 578, runtime audit hooks.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import inspect
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import Any

from prune_core.errors import StrayReadError
from prune_core.undisturbed import undisturbed

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
CACHES = ("MRSWEEP_CACHE", "XDG_CACHE_HOME", "TORCH_HOME", "HF_HOME", "MPLCONFIGDIR")
"""Variables with folders of what libraries fetch or make, and know by its name."""
INSTALLED = ("/site-packages/", "/dist-packages/")

OURS = ("mrsweep", "orchestrator", "results")
NAMED = 3
"""So many files are written out."""
Keyed = tuple[str, ...] | None

_guarding: ContextVar[bool] = ContextVar("guarding", default=False)
_at_work: ContextVar[_AtWork | None] = ContextVar("at_work", default=None)


class _AtWork:
    """A method at work: what it may open, and what it read besides."""

    def __init__(self, axis: str, name: str, files: tuple[str, ...], keyed: Keyed) -> None:
        self.axis, self.name = axis, name
        self.closed = axis in CLOSED
        self.guarded = self.closed and _guarding.get()
        self.files = files
        self.keyed = keyed
        self.read: dict[str, str] = {}
        """What it is not given, and where in the user's code."""
        self.unknown: dict[str, str] = {}
        """Files that are in no key, and where it opens them."""

    def hear(self, what: str) -> None:
        self.read.setdefault(what, _place(self.reader()))

    def reader(self, imports: bool = True) -> FrameType | None:
        """Return the innermost frame of the user's code; None where an import is further in."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            file = frame.f_code.co_filename
            if frame.f_code.co_name == "_find_and_load" and not imports:
                return None
            if not file.startswith("<") and self.is_users(file):
                return frame
            frame = frame.f_back
        return None

    def is_users(self, file: str) -> bool:
        """Say whether a file is the user's own: neither a library's nor what one keeps."""
        libraries = _libraries(*map(os.environ.get, ("HOME", *CACHES)))
        return not file.startswith(libraries) and not any(part in file for part in INSTALLED)

    def opens(self, name: str, told: bool = False) -> None:
        """Hear of a file, if it is the user's and no key has it; or be told of it by its reader."""
        if self.keyed is None:
            return
        file = os.path.realpath(_source(name))
        below = any(file == known or file.startswith(f"{known}{os.sep}") for known in self.keyed)
        if below or not self.is_users(file) or not Path(file).is_file():
            return
        frame = self.reader(imports=name.endswith(CODE))
        if frame is not None or told:
            self.unknown.setdefault(file, _place(frame))

    def check(self) -> None:
        """Refuse what was read.

        Raises:
            StrayReadError: It says what, and where.
        """
        if self.read:
            read = "; ".join(f"{what} ({where})" for what, where in self.read.items())
            raise StrayReadError(f"{self.axis}: {self.name} reads what it is not given: {read}")
        if self.unknown:
            shown = itertools.islice(self.unknown.items(), NAMED)
            read = ", ".join(f"{file} ({where})" for file, where in shown)
            home = f"{Path(next(iter(self.keyed or ()), '')).parent}{os.sep}"
            named = "".join(f"{file.removeprefix(home)!r}, " for file in list(self.unknown)[:NAMED])
            if len(self.unknown) > NAMED:
                read += f" and {len(self.unknown) - NAMED} more"
                named += "..."
            declared = f"@method({self.name.rpartition(':')[2]!r}, files=({named.rstrip(' ')}))"
            lies = " let them lie below dataset.root," if self.axis == "datasets" else ""
            raise StrayReadError(
                f"{self.axis}: {self.name} reads files that are in no key, so that an edit of them "
                f"would leave old results standing: {read}; declare them, {declared} of mrsweep,"
                f"{lies} or declare a revision that you raise"
            )


@contextmanager
def guarded() -> Iterator[None]:
    """While it holds, a user's own method that opens what it may not is refused."""
    _hook()
    token = _guarding.set(True)
    try:
        yield
    finally:
        _guarding.reset(token)


@contextmanager
def heard(axis: str, name: str, keyed: Keyed, root: str | None = None) -> Iterator[None]:
    """Hear what is read for a method besides its calls: by its modules' imports, by our readers.

    Args:
        axis: What it is one of.
        name: What users call it.
        keyed: As `watched` takes them.
        root: The folder of a data set.

    Raises:
        StrayReadError: It is what no key has.
    """
    known = keyed if keyed is None or root is None else (*keyed, os.path.realpath(root))
    work = _AtWork(axis, name, (), known)
    work.guarded = False  # libraries read their own files now
    with _hearing(work):
        yield


@contextmanager
def _hearing(work: _AtWork) -> Iterator[None]:
    if work.keyed is not None:
        _hook()
    token = _at_work.set(work)
    try:
        with undisturbed(f"{work.axis}: {work.name}"):
            yield
    finally:
        _at_work.reset(token)
        work.check()


def watched(
    function: Callable[..., Any],
    axis: str,
    name: str,
    files: tuple[str, ...],
    keyed: Keyed = None,
) -> Callable[..., Any]:
    """Return a method, watched if it is a user's own, and what it changes of the process put back.

    Args:
        function: The method.
        axis: What it is one of.
        name: What users call it, such as ``mine:best``.
        files: Those that it declares.
        keyed: Its modules and files, which are in its keys; None to hear of no others.

    Returns:
        The function; it raises StrayReadError after a call that read what it was not given, or what
        no key has. One of ours is as it was.
    """
    module = str(getattr(function, "__module__", type(function).__module__))
    if module.startswith("prune_core.") or not callable(function):
        return function
    home = Path(getattr(sys.modules[module], "__file__", None) or "").absolute().parent
    paths = tuple(str(home / file) for file in files)

    @functools.wraps(function, updated=() if isinstance(function, type) else ("__dict__",))
    def call(*given: Any, **named: Any) -> Any:
        outer = _at_work.get()
        if outer is not None and (outer.closed or axis not in CLOSED):
            return function(*given, **named)
        known = None if keyed is None else (*keyed, *_roots(given))
        with _hearing(_AtWork(axis, name, paths, known)):
            return function(*given, **named)

    with contextlib.suppress(ValueError):  # written in C, it has none that Python knows
        # What is called is the function itself, and not what it may wrap.
        call.__dict__["__signature__"] = inspect.signature(function, follow_wrapped=False)
    return call


def looked_at_test_images() -> None:
    """Tell that test images are looked at: no method of the user's own may that is given others."""
    if (work := _at_work.get()) is not None and work.closed:
        work.hear("the test images of the data set")


def read_files(files: Iterable[Path]) -> None:
    """Tell that files of images are read, which a data set of the user's own may have named."""
    if (work := _at_work.get()) is not None:
        for file in files:
            work.opens(str(file), told=True)


def _hear(event: str, given: tuple[Any, ...]) -> None:
    if (work := _at_work.get()) is None:
        return
    if event in ELSEWHERE and work.guarded:
        work.hear(ELSEWHERE[event])
    if event != "open":
        return
    path, mode, _ = given
    if not isinstance(path, str | bytes) or (isinstance(mode, str) and "r" not in mode):
        return
    name = path if isinstance(path, str) else path.decode(errors="replace")
    if name.startswith(SYSTEM):
        return
    work.opens(name)
    if work.guarded and not name.endswith(CODE) and str(Path(name).absolute()) not in work.files:
        work.hear(f"the file {name}")


@functools.cache
def _hook() -> None:
    """Begin to hear; Python has no way to end it, so that it is done once and only where needed."""
    sys.addaudithook(_hear)


def _roots(given: tuple[Any, ...]) -> tuple[str, ...]:
    """Return the folder of a data set, whose content is in its keys."""
    root = getattr(given[0], "root", None) if given else None
    return (os.path.realpath(root),) if isinstance(root, str) else ()


def _source(name: str) -> str:
    """Return the module that a compiled one is of, or a file as it is."""
    with contextlib.suppress(ValueError):
        return importlib.util.source_from_cache(name) if name.endswith(".pyc") else name
    return name


@functools.cache
def _libraries(home: str | None, *caches: str | None) -> tuple[str, ...]:
    """Return how the names of files begin that are Python's, a library's, ours or a cache's."""
    ours = Path(__file__).absolute().parent
    python = map(Path, (sys.prefix, sys.base_prefix, sys.exec_prefix))
    places = [
        ours,
        *(ours.with_name(name) for name in OURS),
        *python,
        *map(Path, filter(None, caches)),
    ]
    known = dict.fromkeys(str(way()) for place in places for way in (place.absolute, place.resolve))
    return (*(f"{place}{os.sep}" for place in known), *SYSTEM, *([f"{home}/."] if home else []))


def _place(frame: FrameType | None) -> str:
    """Return the line of the user's code that is at work."""
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame else "elsewhere"
