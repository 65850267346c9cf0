"""The template: one process a node that has imported all a job needs, and forks a child for each.

No CUDA context is in it and no thread, for neither survives a fork: it imports and listens, and
that is all. Whoever connects is an owner. It sends one end of a pair of sockets for every child
that it wants (`orchestrator.worker.forked.child`), and is told when a child has ended, so that its
memory is given back. Children of an owner that is gone are killed; without owners it ends.

Run by `orchestrator.worker.forked.owner`: python -m orchestrator.worker.forked.template SOCKET FD
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

IDLE = 10.0
"""Seconds without an owner after which it ends."""
ALSO = ("torchattacks",)
"""What evaluations import when they first need it."""
READY = b"ready"
STANDARD = 3
"""Files that come with a request: the child's connection, where it prints, where errors go."""


class Template:
    """Forks for its owners."""

    def __init__(self, listener: socket.socket, work: Callable[[socket.socket], None]):
        """Begin without owners.

        Args:
            listener: Where they connect.
            work: What a child does with its end of a connection.
        """
        self._listener, self._work = listener, work
        self._owners: dict[socket.socket, set[int]] = {}
        self._woken, self._wakes = socket.socketpair()

    def serve(self, idle: float = IDLE) -> None:
        """Fork until nobody has been an owner for so many seconds."""
        self._wakes.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # so that it wakes what selects
        signal.set_wakeup_fd(self._wakes.fileno())
        since = time.monotonic()
        while self._owners or time.monotonic() - since < idle:
            ends = [self._listener, self._woken, *self._owners]
            for ready in select.select(ends, [], [], idle)[0]:
                if ready is self._listener:
                    self._owners[self._listener.accept()[0]] = set()
                elif ready is self._woken:
                    self._woken.recv(4096)
                    self._reap()
                else:
                    self._attend(ready)
            since = time.monotonic() if self._owners else since

    def _attend(self, owner: socket.socket) -> None:
        """Fork for an owner, or let it go."""
        try:
            asked, files, _, _ = socket.recv_fds(owner, 1, STANDARD)
        except ConnectionError:
            asked, files = b"", []
        if not asked:
            for pid in self._owners.pop(owner):
                os.kill(pid, signal.SIGKILL)
            owner.close()
            return
        pid = os.fork()
        if not pid:
            self._become(files)
        self._owners[owner].add(pid)
        for file in files:
            os.close(file)
        _tell(owner, {"forked": pid})

    def _become(self, files: list[int]) -> None:
        """Be a child, and nothing of the template."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for end in (self._listener, self._woken, self._wakes, *self._owners):
                end.close()
            for standard, file in enumerate(files[1:], start=1):
                os.dup2(file, standard)
                os.close(file)
            self._work(socket.socket(fileno=files[0]))
        except BaseException:  # nothing of the template's may run in a child
            traceback.print_exc()
        finally:
            os._exit(1)

    def _reap(self) -> None:
        """Tell owners which children have ended."""
        with contextlib.suppress(ChildProcessError):  # there are none any more
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                for owner, children in self._owners.items():
                    if pid in children:
                        children.discard(pid)
                        _tell(owner, {"ended": pid})


def _tell(owner: socket.socket, what: dict[str, int]) -> None:
    with contextlib.suppress(OSError):  # it has gone, which the next look finds
        owner.sendall(json.dumps(what).encode() + b"\n")


def main(path: str, ready: int) -> None:
    """Import, say so or why not, and serve."""
    if os.fork():
        os._exit(0)  # whoever started it may end: the template stays for others
    os.setsid()
    try:
        import torch

        from orchestrator.worker.forked.child import work

        for name in ALSO:
            importlib.import_module(name)
        begun = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch leaves it so
        if begun or threading.active_count() > 1:
            raise RuntimeError("something that is imported began a CUDA context or a thread")
        gc.collect()
        gc.freeze()  # collecting would touch, and so copy, what children share
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(128)
    except Exception as error:
        traceback.print_exc()
        os.write(ready, f"{type(error).__name__}: {error}".encode()[:1000])
        os._exit(1)
    os.write(ready, READY)
    os.close(ready)
    try:
        Template(listener, work).serve()
    finally:
        Path(path).unlink()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
