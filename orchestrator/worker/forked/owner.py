"""The owner's end: has children of the node's template do jobs, one at a time.

It imports little, for the process that it runs in does no job itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.worker.forked.template import READY

PATIENCE = 30.0
"""Seconds that a child may take to end once it has nothing left to do."""
Heard = Callable[[dict[str, Any]], None]


class Forks:
    """Children of one template, of which one is alive at most."""

    def __init__(self, name: str):
        """Begin without a template.

        Args:
            name: Of the template. The first owner on a machine that asks for it starts it.
        """
        self._name = name
        self._template: socket.socket | None = None
        self._child: _Child | None = None

    @property
    def connected(self) -> bool:
        """Whether there was a template when last looked."""
        return self._template is not None

    def perform(
        self, order: str, node: str | None, hear: Heard, stays: bool
    ) -> dict[str, Any] | None:
        """Have a child do a job; return how it ended, None where the child died.

        Args:
            order: As `orchestrator.planning.attempt.encode_order` writes it.
            node: The cluster's name of this machine.
            hear: Is told what the job says of itself.
            stays: Whether the child is kept for the next job; not after a failure.

        Raises:
            ChildProcessError: There is no template, and none could be started.
        """
        if self._child is not None and not self._child.alive():
            self._end()  # killed while it had nothing to do
        self._child, ended = self._child or self._forked(), None
        try:
            ended = self._child.perform(order, node, hear)
        finally:
            if not stays or ended is None or ended["status"] == "failed":
                self._end()
        return ended

    def leave(self) -> None:
        """Tell the child that its node is about to leave."""
        if (child := self._child) is not None:
            child.send(leaving=True)

    def close(self) -> None:
        """Let go of everything."""
        self._end()
        self._disconnect()

    def _forked(self) -> _Child:
        for _ in range(2):  # the template may have died since
            self._template = self._template or connected(self._name)
            mine, its = socket.socketpair()
            with contextlib.suppress(OSError), its:
                socket.send_fds(self._template, [b"f"], [its.fileno(), 1, 2])
                if told := _told(self._template):
                    return _Child(mine, told["forked"])
            mine.close()
            self._disconnect()
        raise ChildProcessError("the template process died twice before it forked")

    def _end(self) -> None:
        """Have the child end, and wait until its memory is given back."""
        if (child := self._child) is None:
            return
        self._child = None
        if not child.hung_up():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
        if self._template is not None and _told(self._template) != {"ended": child.pid}:
            self._disconnect()  # it has died too, or hangs

    def _disconnect(self) -> None:
        if self._template is not None:
            self._template.close()
        self._template = None


class _Child:
    def __init__(self, connection: socket.socket, pid: int):
        self._connection, self.pid = connection, pid
        self._lines = connection.makefile("r", encoding="utf-8")
        self._lock = threading.Lock()
        self.send(environment=dict(os.environ), folder=str(Path.cwd()))

    def perform(self, order: str, node: str | None, hear: Heard) -> dict[str, Any] | None:
        self.send(order=order, node=node)
        with contextlib.suppress(ConnectionError):
            for line in self._lines:
                said: Mapping[str, Any] = json.loads(line)
                if "result" in said:
                    return dict(said["result"])
                hear(said["beat"])
        return None

    def send(self, **message: Any) -> None:
        with contextlib.suppress(OSError), self._lock:  # that it died is found in reading
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def alive(self) -> bool:
        """Say whether it has not hung up."""
        try:
            return bool(self._connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def hung_up(self) -> bool:
        """Say that nothing more comes; whether the child ended for it, in time."""
        with self._connection, self._lines:
            try:
                self._connection.shutdown(socket.SHUT_WR)
                self._connection.settimeout(PATIENCE)
                while self._connection.recv(4096):
                    continue
            except TimeoutError:
                return False
            except OSError:
                pass  # it had ended before
        return True


def _told(template: socket.socket) -> dict[str, int] | None:
    """Return what a template says next; None where it has died, or hangs."""
    template.settimeout(PATIENCE)
    line = b""
    with contextlib.suppress(OSError):
        while (byte := template.recv(1)) and byte != b"\n":
            line += byte
    said: dict[str, int] | None = json.loads(line) if line.endswith(b"}") else None
    return said


def connected(name: str) -> socket.socket:
    """Return a connection to the template of a name; started where there is none.

    Raises:
        ChildProcessError: It could not be started.
    """
    folder = Path(tempfile.gettempdir()) / f"mrsweep-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o077:
        raise ChildProcessError(f"{folder} is open to others: nothing is run through it; remove it")
    path = folder / f"{name}.sock"
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one starts it, others wait until it is there
        try:
            return _connection(path)
        except (FileNotFoundError, ConnectionRefusedError):
            path.unlink(missing_ok=True)
            _start(path)
            return _connection(path)
    finally:
        os.close(lock)


def _connection(path: Path) -> socket.socket:
    template = socket.socket(socket.AF_UNIX)
    try:
        template.connect(str(path))
    except OSError:
        template.close()
        raise
    return template


def _start(path: Path) -> None:
    """Start a template, and wait until it listens."""
    reading, writing = os.pipe()
    one_thread = {"OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    code = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-P", "-m", "orchestrator.worker.forked.template"]
    try:
        subprocess.run(  # noqa: S603 - this interpreter, and a module of ours
            [*command, str(path), str(writing)],
            env={**os.environ, **one_thread, "PYTHONPATH": code, "CUDA_VISIBLE_DEVICES": ""},
            stdin=subprocess.DEVNULL, pass_fds=[writing], check=True,
        )  # fmt: skip
    finally:
        os.close(writing)
    with os.fdopen(reading, "rb") as file:
        said = file.read()
    if said != READY:
        why = said.decode() or "it died"
        raise ChildProcessError(f"the template process could not start: {why}")
