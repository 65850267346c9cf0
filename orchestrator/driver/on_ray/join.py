"""Joining a Ray cluster, or making one on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import ray

from orchestrator.driver.launch import ResourceError
from orchestrator.driver.on_ray import nodes
from orchestrator.driver.on_ray.cluster import Cluster

ANSWER = 30.0
"""Seconds that a cluster has to answer; Ray itself would go on asking for minutes."""
LAUNCH, LOOK = 30.0, 0.5
"""Seconds in which an autoscaler that can add a node begins to; between two looks at it."""
CLIENT = "ray://"
RAY_PORT = 6379

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
                ray.shutdown()


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
        check_address(address)
    path = os.pathsep.join(dict.fromkeys([*filter(None, sys.path), str(Path.cwd())]))
    try:
        with contextlib.chdir(scratch), _answered(address):
            ray.init(
                address=address or "local",
                num_cpus=None if address else cpus,
                include_dashboard=False if not address else None,
                logging_level=logging.ERROR,
                log_to_driver=False,
                runtime_env={"env_vars": {"PYTHONPATH": path}},
            )
    except (ConnectionError, ray.exceptions.AuthenticationError) as error:
        raise _silent(address, str(error)) from error


def check_address(address: str, seconds: float = ANSWER) -> None:
    """Refuse an address at which nothing listens, and one of a client.

    Raises:
        ResourceError: It says what to do.
    """
    if address.startswith(CLIENT):
        raise ResourceError(
            f"--address {address}: a sweep is not run through Ray's client, whose connection "
            "would have to last as long. Give the command on a node of the cluster (--address "
            "auto), or submit it: ray job submit --address http://HEAD:8265 -- mrsweep run ..."
        )
    if address in ("auto", "local"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ResourceError(
            f"--address {address!r} is no address; give HOST:PORT, such as 10.0.0.1:{RAY_PORT}, "
            "or auto on a node of the cluster"
        )
    until, fault = time.monotonic() + seconds, OSError()
    while (left := until - time.monotonic()) > 0:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=left).close()
        except socket.gaierror as error:
            raise _silent(address, f"no machine is called {host!r} here") from error
        except OSError as error:
            fault = error
            time.sleep(min(1.0, max(0.0, until - time.monotonic())))
        else:
            return
    raise _silent(address, str(fault) or "nothing listens there") from fault


@contextlib.contextmanager
def _answered(address: str | None) -> Iterator[None]:
    """End this process with a message where Ray goes on waiting for what does not answer."""

    def end() -> None:
        sys.stderr.write(f"{_silent(address, f'no answer within {2 * ANSWER:.0f} s')}\n")
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


def _silent(address: str | None, why: str) -> ResourceError:
    return ResourceError(
        f"no Ray cluster answers at {address!r} ({why}): check the address, that `ray status` "
        "works there, and that this machine has the cluster's token and is one of its nodes"
    )
