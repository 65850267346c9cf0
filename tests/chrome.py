"""A browser that a test drives: Chromium by its debugging pipe, with nothing but the library."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROME = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
              None)  # fmt: skip
REQUIRED = os.environ.get("MRSWEEP_BROWSER") == "required"
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


AS_3_AND_4 = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for place, end in zip((3, 4), ends):
    os.dup2(end, place)
os.execvp(sys.argv[3], sys.argv[3:])
"""
"""The browser looks for its ends of the pipe there."""


class Page:
    """A page that is open."""

    def __init__(self, say: int, hear: int):
        self._say, self._hear = say, hear
        self._number = 0
        self._rest = b""
        self._session: str | None = None

    def open(self, url: str) -> None:
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        self.ask("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """Return what a script comes to."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, script: str, seconds: float = 30.0) -> Any:
        """Return what a script comes to once that is true."""
        end = time.monotonic() + seconds
        while not (found := self.evaluate(script)):
            assert time.monotonic() < end, f"{script} is still {found!r}"
            time.sleep(0.05)
        return found

    def picture(self, file: Path) -> None:
        """Write what is seen as PNG."""
        file.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._say, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._hear, 2**16)
            assert data, "the browser has ended"
            self._rest += data
        one, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(one))


@contextlib.contextmanager
def browser_at(url: str, profile: Path, size: str = "1280,900") -> Iterator[Page]:
    """Open a page in a browser of its own."""
    assert CHROME is not None, "no Chromium on this machine, and MRSWEEP_BROWSER is required"
    theirs, say = os.pipe()
    hear, ours = os.pipe()
    words = [CHROME, *QUIET, f"--user-data-dir={profile}", f"--window-size={size}",
             "--remote-debugging-pipe", "about:blank"]  # fmt: skip
    command = [sys.executable, "-c", AS_3_AND_4, str(theirs), str(ours), *words]
    with subprocess.Popen(
        command, pass_fds=(theirs, ours), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        os.close(theirs)
        os.close(ours)
        try:
            page = Page(say, hear)
            page.open(url)
            yield page
        finally:
            process.terminate()
            process.wait(20)
            os.close(say)
            os.close(hear)
