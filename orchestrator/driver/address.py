"""The address of a Ray cluster: refused where it is none, or nothing listens; without ray."""

from __future__ import annotations

import socket
import time

from orchestrator.driver.launch import ResourceError

ANSWER = 30.0
"""Seconds that a cluster has to answer; Ray itself would go on asking for minutes."""
CLIENT = "ray://"
RAY_PORT = 6379


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
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ResourceError(
            f"--address {address!r} is no address; give HOST:PORT, such as 10.0.0.1:{RAY_PORT}, "
            "or auto on a node of the cluster"
        )
    until, fault = time.monotonic() + seconds, OSError()
    while (left := until - time.monotonic()) > 0:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=left).close()
        except (socket.gaierror, UnicodeError) as error:
            raise silent(address, f"no machine is called {host!r} here") from error
        except OSError as error:
            fault = error
            time.sleep(min(1.0, max(0.0, until - time.monotonic())))
        else:
            return
    raise silent(address, str(fault) or "nothing listens there") from fault


def silent(address: str | None, why: str) -> ResourceError:
    """Return what is said of a cluster that does not answer."""
    return ResourceError(
        f"no Ray cluster answers at {address!r} ({why}): check the address, that `ray status` "
        "works there, and that this machine has the cluster's token and is one of its nodes"
    )
