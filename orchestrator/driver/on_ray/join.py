"""Joining a Ray cluster, or making one on this machine."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import ray
from ray._private import services

from orchestrator.driver.address import ANSWER, check_address, silent
from orchestrator.driver.launch import ResourceError
from orchestrator.driver.on_ray import nodes
from orchestrator.driver.on_ray.cluster import Cluster

LAUNCH, LOOK = 30.0, 0.5
"""Seconds in which an autoscaler that can add a node begins to; between two looks at it."""
LEAVE = 15.0
"""Seconds that Ray has to let go."""

log = logging.getLogger(__name__)


@contextlib.contextmanager
def joined(device: str, cpus: int, address: str | None, patience: float) -> Iterator[Cluster]:
    """Join the Ray cluster at ``address``, or make one here with so many ``cpus``.

    Raises:
        ResourceError: No cluster answers, or what jobs are to compute on cannot be known.
    """
    started = not ray.is_initialized()
    with tempfile.TemporaryDirectory(prefix="mrsweep-tune-") as scratch:
        if started:
            _join(address, cpus, scratch)
        try:
            grows = address is not None and nodes.autoscales()
            yield Cluster(resolved(device, grows, patience), scratch, patience, grows)
        finally:
            if started:
                _leave()


def _leave() -> None:
    """Leave the cluster; one whose head is lost keeps nobody from ending."""
    thread = threading.Thread(target=ray.shutdown, daemon=True)
    thread.start()
    thread.join(LEAVE)
    if thread.is_alive():
        atexit.unregister(ray.shutdown)


def resolved(device: str, grows: bool, patience: float) -> str:
    """Return what ``auto`` is on the cluster: a GPU, if it has one or its autoscaler adds one.

    An autoscaler does not tell what it could add: it is asked for a GPU, and launches it or not.

    Raises:
        ResourceError: It launched nodes for so many seconds, and none with a GPU came.
    """
    if device != "auto":
        return device
    if _has_gpu():
        return "cuda"
    if not grows:
        return "cpu"
    log.warning(
        "--device auto: no node has a GPU yet; the autoscaler is asked for one since %s",
        datetime.now().astimezone().strftime("%H:%M:%S"),
    )
    nodes.ask_for([{"CPU": 1, "GPU": 1}])
    began = launched = time.monotonic()
    while not _has_gpu():
        now = time.monotonic()
        launched = now if nodes.launching() else launched
        if now - launched > LAUNCH:
            nodes.ask_for([])
            log.warning("--device auto: the autoscaler adds no GPU, so jobs compute on the CPU")
            return "cpu"
        if now - began > patience:
            nodes.ask_for([])
            raise ResourceError(
                f"--device auto: no node with a GPU came within {patience / 60:.0f} minutes, and "
                "nodes are on their way still; give --device cuda or --device cpu, or --patience"
            )
        time.sleep(LOOK)
    return "cuda"


def _has_gpu() -> bool:
    return any(has.get("GPU", 0) > 0 for has in nodes.present().values())


def _join(address: str | None, cpus: int, scratch: str) -> None:
    """Make a Ray cluster here, or join the one at ``address``.

    Workers import what this process can import, in the same order. Ray puts the working folder in
    front of all that, where a file of the user's would hide a package: it is shown an empty one.
    """
    if address is not None:
        address = _found(address)
        check_address(address)
    path = os.pathsep.join(dict.fromkeys([*filter(None, sys.path), str(Path.cwd())]))
    try:
        with contextlib.chdir(scratch), _own_signals(), _answered(address):
            ray.init(
                address=address or "local",
                num_cpus=None if address else cpus,
                include_dashboard=False if not address else None,
                logging_level=logging.ERROR,
                log_to_driver=False,
                runtime_env={"env_vars": {"PYTHONPATH": path}},
            )
    except (ConnectionError, ray.exceptions.AuthenticationError) as error:
        raise silent(address, str(error)) from error


def _found(address: str) -> str:
    """Return which cluster ``auto`` is: Ray itself would ask one that is gone for a minute."""
    if address != "auto":
        return address
    try:
        return str(services.canonicalize_bootstrap_address_or_die(address))
    except ConnectionError as error:
        raise silent(address, str(error)) from error


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Take back how this process ends when it is asked to: Ray would end it without a word."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _answered(address: str | None) -> Iterator[None]:
    """End this process with a message where Ray goes on waiting for what does not answer."""

    def end() -> None:
        sys.stderr.write(f"{silent(address, f'no answer within {2 * ANSWER:.0f} s')}\n")
        sys.stderr.flush()
        os._exit(2)  # what waits is within Ray, and heeds nothing

    timer = threading.Timer(2 * ANSWER, end)
    timer.daemon = True
    if address is not None:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
