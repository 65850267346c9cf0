"""``mrsweep serve``: a sweep's page in a browser while it runs; it reads, and never writes."""

from __future__ import annotations

import contextlib
import json
import mimetypes
import threading
import time
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from rich.console import Console

from orchestrator.errors import RequestError
from orchestrator.sweepfile.model import read_sweep
from results.report.live import Live
from results.tables.storage import Storage

PATIENCE = 10.0
"""Seconds for which a browser that has the newest state is made to wait for the next."""


def serve(
    file: Path,
    storage: str,
    place: tuple[str, int],
    every: float,
    metric: str | None,
    console: Console,
    changes: Sequence[str] = (),
) -> None:
    """Serve a sweep's page until Ctrl-C.

    Args:
        file: The sweep file.
        storage: The storage root.
        place: The address and port to listen on.
        every: Seconds between two looks at the tables.
        metric: The metric that leads; the strongest attack's by default.
        console: Where to print.
        changes: Settings of the file to change, each a ``section.key=value``.

    Raises:
        RequestError: The port is taken.
    """
    root = Storage(storage)
    root.check()
    live = Live(root, read_sweep(file, changes).name, metric)
    with listening(live, place) as address:
        console.print(f"The page is at http://{address}/ until Ctrl-C.", highlight=False)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                live.look()
                time.sleep(every)


@contextlib.contextmanager
def listening(live: Live, place: tuple[str, int]) -> Iterator[str]:
    """Answer requests in threads while it holds; give the address with the port."""
    try:
        server = ThreadingHTTPServer(place, _handler(live))
    except OSError as error:
        reason = error.strerror or error
        raise RequestError(f"{place[0]}:{place[1]}: {reason}; give another --port") from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"{place[0]}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _handler(live: Live) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers with what is in memory: no path of a request reaches the file system."""

        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            if asked.path == "/state":
                since = parse_qs(asked.query).get("since", ["0"])[0]
                state = live.wait(int(since) if since.isdecimal() else 0, PATIENCE)
                facts = {name: getattr(state, name) for name in ("version", "drawing", "said")}
                self._answer(json.dumps(facts).encode(), "application/json")
                return
            name = asked.path.removeprefix("/") or "index.html"
            data = live.state.files.get(name)
            if data is None:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
            self._answer(data, f"{kind}; charset=utf-8" if kind.startswith("text/") else kind)

        def _answer(self, data: bytes, kind: str) -> None:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the browser has gone elsewhere
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Keep the terminal quiet."""

    return Handler
