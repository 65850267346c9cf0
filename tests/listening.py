"""What listens at an address, and answers a greeting as Ray, or as something else, does."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

SETTINGS = bytes([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100])
"""A frame of HTTP/2's settings: what a server of gRPC says first."""


@contextlib.contextmanager
def listening(answer: bytes | None) -> Iterator[str]:
    """Yield the address of what answers every greeting so; ``None`` is silence."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    held.append(connection)
                    if answer is not None:
                        connection.recv(4096)
                        connection.sendall(answer)
                        connection.shutdown(socket.SHUT_WR)

        held: list[socket.socket] = []
        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        for connection in held:
            connection.close()
