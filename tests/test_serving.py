"""The page that is served while a sweep runs: numbers move, and storage is only read."""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chrome import CHROME, REQUIRED, browser_at

from orchestrator.cli.tools.serving import listening
from orchestrator.errors import RequestError
from results.report import live as live_module
from results.report.live import Live
from results.report.summary import Summary
from results.tables.storage import Storage
from results.tables.store import Tables

from command import mrsweep
from conftest import sweep_text
from filled import fill

browser = pytest.mark.skipif(CHROME is None and not REQUIRED, reason="no Chromium on this machine")
HERE = ("127.0.0.1", 0)


def page(summary: Summary, title: str) -> dict[str, bytes]:
    """A page as small as may be, in place of the report, which takes seconds to draw."""
    text = f"""<!doctype html><html><head><title>{title}</title><style>p {{}}</style></head><body>
      <main><p id="done">{summary.done}</p><details><summary>More</summary>said</details>
      <select id="by"><option>one</option><option>two</option></select>
      <input type="checkbox" name="level" value="a" checked><p id="chosen"></p>
      <script>document.getElementById("by").addEventListener("change", event => {{
        document.getElementById("chosen").textContent = event.target.value; }});</script>
      </main></body></html>"""
    return {"index.html": text.encode(), "tables/one.csv": b"a,b\n"}


class Root:
    """A storage root into which the rows of a whole sweep come little by little."""

    def __init__(self, folder: Path):
        file = folder / "sweep.yaml"
        file.write_text(sweep_text(seeds="1"))
        self.source, self.path = folder / "source", folder / "runs"
        fill(file, self.source)
        self.rows = Tables(Storage(str(self.source))).arrow("trials").to_pylist()

    def begin(self) -> None:
        shutil.copytree(self.source / "sweeps", self.path / "sweeps")
        for table in ("evaluations", "modules", "epochs", "jobs"):
            shutil.copytree(self.source / "tables" / table, self.path / "tables" / table)

    def come(self, first: int, last: int) -> None:
        tables = Tables(Storage(str(self.path)))
        tables.write("trials", self.rows[first:last])
        tables.commit()

    @property
    def digests(self) -> dict[str, str]:
        return {str(file): hashlib.sha256(file.read_bytes()).hexdigest()
                for file in self.path.rglob("*") if file.is_file()}  # fmt: skip


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Root:
    return Root(tmp_path_factory.mktemp("served"))


@pytest.fixture
def root(filled: Root, monkeypatch: pytest.MonkeyPatch) -> Iterator[Root]:
    monkeypatch.setattr(live_module, "make_report", page)
    monkeypatch.setattr(live_module, "SHARE", 1.0)
    yield filled
    shutil.rmtree(filled.path, ignore_errors=True)


def live_of(root: Root) -> Live:
    return Live(Storage(str(root.path)), "tiny")


def get(address: str, path: str) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read(), dict(answer.getheaders())


def test_the_page_follows_the_tables_and_storage_is_only_read(root: Root) -> None:
    live = live_of(root)
    live.look()
    assert "has not begun" in live.state.said
    assert b"has not begun" in live.state.files["index.html"]
    root.begin()
    live.look()
    assert live.state.said.startswith("0 of 4 trials done; read at ")
    assert b"first trial that is done" in live.state.files["index.html"]
    root.come(0, 3)
    before = root.digests
    live.look()
    assert live.state.said.startswith("3 of 4 trials done")
    assert b'<p id="done">3</p>' in live.state.files["index.html"]
    drawn = live.state
    live.look()
    assert live.state is drawn  # no row has come
    assert root.digests == before


def test_until_the_first_page_is_drawn_nothing_wrong_is_said(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep that was half done "had not begun" for as long as its page was drawn."""
    root.begin()
    root.come(0, 2)
    live = live_of(root)
    assert live.state.said == "Reading its tables."
    said = []

    def slow(summary: Summary, title: str) -> dict[str, bytes]:
        said.append((live.state.said, live.state.files["index.html"]))
        return page(summary, title)

    monkeypatch.setattr(live_module, "make_report", slow)
    live.look()
    assert said[0][0] == "2 of 4 trials done: the page is being drawn."
    assert said[0][0].encode() in said[0][1]
    assert b'<footer id="live"' in said[0][1]  # all that is said is in a landmark (axe-core)
    root.come(2, 3)
    live.look()
    assert "being drawn" not in said[1][0]  # there is a page, which stays until the next


def test_drawing_takes_no_more_than_its_share_of_the_time(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]

    def slow(summary: Summary, title: str) -> dict[str, bytes]:
        clock[0] += 4
        return page(summary, title)

    monkeypatch.setattr(live_module, "SHARE", 0.1)
    monkeypatch.setattr(live_module, "make_report", slow)
    monkeypatch.setattr(live_module.time, "monotonic", lambda: clock[0])
    live = live_of(root)
    root.begin()
    root.come(0, 1)
    live.look()
    assert b'<p id="done">1</p>' in live.state.files["index.html"]
    root.come(1, 3)
    clock[0] += 30
    live.look()
    assert live.state.said.startswith("3 of 4")  # numbers move, the page waits
    assert b'<p id="done">1</p>' in live.state.files["index.html"]
    clock[0] += 7
    live.look()
    assert b'<p id="done">3</p>' in live.state.files["index.html"]
    root.come(3, 4)
    live.look()
    assert b'<p id="done">4</p>' in live.state.files["index.html"]  # nothing is left to hold up


def test_what_is_served(root: Root) -> None:
    root.begin()
    root.come(0, 4)
    live = live_of(root)
    live.look()
    with listening(live, HERE) as address:
        status, body, headers = get(address, "/")
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert body == live.state.files["index.html"]
        assert body.count(b"</body>") == 1
        assert get(address, "/tables/one.csv")[1] == b"a,b\n"
        for path in ("/../../etc/passwd", "/%2e%2e/etc/passwd", "/sweeps/tiny/sweep.yaml"):
            assert get(address, path)[0] == 404
        state = json.loads(get(address, "/state?since=0")[1])
        assert state["said"] == live.state.said
        with (
            pytest.raises(RequestError, match="give another --port"),
            listening(live, ("127.0.0.1", int(address.partition(":")[2]))),
        ):
            pass


def test_who_has_the_newest_state_waits_for_the_next(root: Root) -> None:
    root.begin()
    live = live_of(root)
    with listening(live, HERE) as address:
        since, found = live.state.version, []
        waiting = threading.Thread(
            target=lambda: found.append(json.loads(get(address, f"/state?since={since}")[1]))
        )
        waiting.start()
        time.sleep(0.1)
        assert not found
        live.look()
        waiting.join(10)
        assert found[0]["said"].startswith("0 of 4")


def test_the_command_listens_on_this_machine_alone(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    file = tmp_path / "sweep.yaml"
    file.write_text(sweep_text(seeds="1"))
    ran = mrsweep("serve", file, "--storage", root.path, "--port", 0)
    assert ran.returncode == 0, ran.stderr
    assert "The page is at http://127.0.0.1:" in ran.stdout
    assert not root.path.exists()


@browser
def test_numbers_move_in_a_browser(root: Root, tmp_path: Path) -> None:
    root.begin()
    root.come(0, 2)
    live = live_of(root)
    live.look()
    with (
        listening(live, HERE) as address,
        browser_at(f"http://{address}/", tmp_path / "profile") as view,
    ):
        view.wait("document.getElementById('done')?.textContent === '2'")
        view.evaluate(
            "document.querySelector('details').open = true;"
            "const by = document.getElementById('by'); by.value = 'two';"
            "document.querySelector('input').click();"
        )
        root.come(2, 4)
        live.look()
        view.wait("document.getElementById('done').textContent === '4'")
        view.wait("document.getElementById('live').textContent.startsWith('4 of 4 trials done')")
        # What was open, chosen and unticked is so, and the new page's own script has run.
        assert view.evaluate("document.querySelector('details').open")
        assert view.evaluate("document.getElementById('chosen').textContent") == "two"
        assert not view.evaluate("document.querySelector('input').checked")
    live.wait(0, 0)
