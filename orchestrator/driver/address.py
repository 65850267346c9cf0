"""The address of a Ray cluster: refused where it is none, or no Ray listens; without ray."""

from __future__ import annotations

import os
import socket
import time

from orchestrator.driver.launch import ResourceError

ANSWER = 30.0
"""Seconds that a cluster has to answer; Ray itself would go on asking for minutes."""
CLIENT = "ray://"
RAY_PORT = 6379
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""What a client of HTTP/2, which gRPC and so Ray speaks, says first: RFC 9113, 3.4, no settings."""
HEADER, SETTINGS = 9, 4
"""Bytes in front of a frame, the fourth of which is its kind; the kind that a server says first."""


def check_address(address: str, seconds: float = ANSWER) -> None:
    """Refuse an address at which nothing listens, or something other than Ray, and a client's.

    Raises:
        ResourceError: It says what to do.
    """
    if address.startswith(CLIENT):
        raise ResourceError(
            f"--address {address}: a sweep is not run through Ray's client, whose connection "
            "would have to last as long. Give the command on a node of the cluster (--address "
            "auto), or submit it: ray job submit --address http://HEAD:8265 -- mrsweep run ..."
        )
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address  # as Ray does
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
            with socket.create_connection((host.strip("[]"), int(port)), timeout=left) as found:
                if _encrypted() or _speaks_grpc(found, until):
                    return
            raise silent(address, "what listens there is not Ray")
        except (socket.gaierror, UnicodeError) as error:
            raise silent(address, f"no machine is called {host!r} here") from error
        except OSError as error:
            fault = error
            time.sleep(min(1.0, max(0.0, until - time.monotonic())))
    raise silent(address, str(fault) or "nothing listens there") from fault


def _encrypted() -> bool:
    """Say whether Ray is told to speak TLS, of which nothing is known before a handshake."""
    return os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true")


def _speaks_grpc(found: socket.socket, until: float) -> bool:
    """Greet what listens, and say whether it answers as a server of gRPC does.

    Raises:
        OSError: It closes the connection, or says nothing until then.
    """
    found.sendall(GREETING)
    said = b""
    while len(said) < HEADER:
        found.settimeout(max(0.01, until - time.monotonic()))
        if not (more := found.recv(HEADER - len(said))):
            raise ConnectionError("what listens there closes the connection")
        said += more
    return said[3] == SETTINGS


def silent(address: str | None, why: str) -> ResourceError:
    """Return what is said of a cluster that does not answer."""
    return ResourceError(
        f"no Ray cluster answers at {address!r} ({why}): check the address, that `ray status` "
        "works there, and that this machine has the cluster's token and is one of its nodes"
    )
