"""The page while a sweep runs: drawn anew as rows come, from the tables alone; nothing is written.

To draw takes seconds of the machine that may be computing as well, so that it is done when rows
have come, and never for more than a quarter of the time while trials are left.
"""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from results.errors import AnalysisError, StorageError
from results.report import drawn
from results.report.page import make_report
from results.report.summary import summarise
from results.tables.load import Loaded
from results.tables.schema import TABLES
from results.tables.storage import Storage

SHARE = 0.25
"""Of the time that may go into drawing."""
SCRIPT = Path(__file__).with_name("templates") / "live.js"
STYLE = Path(__file__).with_name("templates") / "page.css"
WAITING = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta name="description" content="{said}"><link rel="icon" href="data:,">'
    "<title>{title} \N{EN DASH} mrsweep</title><style>{style}</style></head><body><main>"
    '<p class="sweep">Sweep <strong>{title}</strong></p><h1>Nothing to show yet</h1>'
    '<section class="verdict"><p>{said}</p></section></main></body></html>'
)

NOT_BEGUN = "It has not begun: there is no plan in storage."
FIRST = "The page comes with the first trial that is done: dense networks are trained before any."


@dataclass(frozen=True)
class State:
    """What is served: the page's files, and how far the sweep is."""

    version: int = 0
    """It grows with every change."""
    drawing: int = 0
    """It grows with every change of the files."""
    said: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)


class Live:
    """A sweep's page, kept up with its tables."""

    def __init__(self, storage: Storage, sweep: str, metric: str | None = None):
        self._storage, self._sweep, self._metric = storage, sweep, metric
        self._changed = threading.Condition()
        self._seen: object = None
        self._digest = ""
        self._behind = False
        self._drawn = ""
        self._free_at = 0.0
        self.state = State()
        begun = storage.exists("sweeps", sweep, "plan.parquet")
        self._show("Reading its tables." if begun else NOT_BEGUN, _waiting)

    def look(self) -> None:
        """Look at the tables, and draw the page anew if rows have come and there is time."""
        seen, free = self._stamps(), time.monotonic() >= self._free_at
        if seen is None or (seen == self._seen and not (self._behind and free)):
            return
        loaded = Loaded(self._storage, self._sweep)
        try:
            done = int((loaded.trials["status"] == "done").sum())
            failed = int((loaded.trials["status"] == "failed").sum())
            digest = drawn.digest([loaded], self._metric)
        except StorageError as error:
            self._show(f"Storage cannot be read now: {error}.")
            return
        self._seen = seen
        planned = len(loaded.trials) + loaded.missing
        said = f"{done} of {planned} trials done{f', {failed} failed' * bool(failed)}"
        self._behind = digest != self._digest
        free = free or not loaded.missing  # nothing computes that it would hold up
        draw = self._drawing(loaded) if self._behind and free else None
        if draw is not None:
            self._digest, self._behind = digest, False
        if draw is not None and not self._drawn:  # it takes seconds, in which the page says so
            self._show(f"{said}: the page is being drawn.", _waiting)
        clock = f"{datetime.now(UTC):%H:%M:%S}"
        self._drawn = clock if draw else self._drawn
        behind = "" if self._drawn == clock else f", the page at {self._drawn}"
        self._show(f"{said}; read at {clock}{behind} UTC.", draw)

    def wait(self, version: int, seconds: float) -> State:
        """Return the state once it is another than a version, or after some seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.state.version != version, seconds)
            return self.state

    def _stamps(self) -> object:
        """Return what changes whenever rows come; None while there is no plan."""
        if not self._storage.exists("sweeps", self._sweep, "plan.parquet"):
            return None
        tables = [self._storage.stamps("tables", name) for name in TABLES]
        return [tables, self._storage.stamps("log")]

    def _drawing(self, loaded: Loaded) -> Callable[[str, str], dict[str, bytes]]:
        """Return how the page is drawn; a sweep that has nothing to report yet says so."""

        def draw(title: str, _: str) -> dict[str, bytes]:
            began = time.monotonic()
            try:
                return make_report(summarise(loaded, self._metric), title)
            except AnalysisError as error:
                done = (loaded.trials["status"] == "done").any()
                why = f"There is no page yet: {error}." if done else FIRST
                return _waiting(title, why)
            finally:
                took = time.monotonic() - began
                self._free_at = time.monotonic() + took * (1 / SHARE - 1)

        return draw

    def _show(self, said: str, draw: Callable[[str, str], dict[str, bytes]] | None = None) -> None:
        state = replace(self.state, version=self.state.version + 1, said=said)
        if draw is not None:
            state = replace(state, drawing=state.drawing + 1, files=draw(self._sweep, said))
        page = _followed(state)
        with self._changed:
            self.state = replace(state, files={**state.files, "index.html": page})
            self._changed.notify_all()


def _waiting(title: str, said: str) -> dict[str, bytes]:
    style = STYLE.read_text(encoding="utf-8")
    text = WAITING.format(title=html.escape(title), said=html.escape(said), style=style)
    return {"index.html": text.encode()}


def _followed(state: State) -> bytes:
    """Return the page with the line and the script that keep it up to date."""
    page = state.files["index.html"].decode().partition("<!-- live -->")[0]
    page = page.replace("</body>", "").replace("</html>", "")
    line = (
        f'<footer id="live" data-version="{state.version}" data-drawing="{state.drawing}" '
        'style="position: sticky; bottom: 0; margin: 0; padding: .4rem 1.2rem; background: '
        'var(--card, #fff); border-top: 1px solid var(--line, #ccc)">'
        f"{html.escape(state.said)}</footer>"
    )
    script = SCRIPT.read_text(encoding="utf-8")
    end = f"<!-- live -->{line}<script>{script}</script></body></html>"
    return f"{page}{end}".encode()
