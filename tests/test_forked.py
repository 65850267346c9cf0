"""Processes of jobs, forked from a template: which does what, and who outlives whom."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.driver.allotment import Allotments
from orchestrator.driver.on_ray import pulse
from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import parse_sweep
from orchestrator.worker.forked import owner as owners
from orchestrator.worker.forked.owner import Forks
from orchestrator.worker.forked.template import Template

from conftest import sweep_text


def light(connection: socket.socket) -> None:
    """What a child does here: no job, but what it is asked to."""
    lines = connection.makefile("r")
    place = json.loads(lines.readline())
    for line in lines:
        asked = json.loads(line)
        if "order" not in asked:
            continue
        if asked["order"] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        say = {"pid": os.getpid(), "folder": place["folder"], "node": asked["node"]}
        status = "failed" if asked["order"] == "fail" else "done"
        for message in ({"beat": say}, {"result": {**say, "status": status}}):
            connection.sendall(json.dumps(message).encode() + b"\n")
    os._exit(0)


def gone(pid: int, seconds: float = 5.0) -> bool:
    """Say whether a process ends in time; what nobody has waited for has ended too."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


class Started:
    """Templates that are started here, light ones."""

    def __init__(self) -> None:
        self.pids: list[int] = []

    def start(self, path: Path) -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        if not (pid := os.fork()):
            os.closerange(3, listener.fileno())  # as a new program would have it
            os.closerange(listener.fileno() + 1, 1024)
            try:
                Template(listener, light).serve(idle=0.2)
            finally:
                os._exit(0)
        listener.close()
        self.pids.append(pid)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Started]:
    templates = Started()
    monkeypatch.setattr(owners, "_start", templates.start)
    monkeypatch.setattr(owners.tempfile, "gettempdir", lambda: str(tmp_path))
    yield templates
    for pid in templates.pids:
        assert gone(pid)  # without owners it ends
        os.waitpid(pid, 0)


@pytest.fixture
def forks(started: Started) -> Iterator[Forks]:
    one = Forks("t")
    yield one
    one.close()


def done(forks: Forks, order: str = "", stays: bool = False) -> dict[str, Any] | None:
    return forks.perform(order, "n1", lambda _: None, stays)


def test_a_job_has_a_process_of_its_own_that_is_gone_once_it_has_ended(forks: Forks) -> None:
    heard: list[dict[str, Any]] = []
    ended = forks.perform("", "n1", heard.append, stays=False)
    assert ended is not None
    assert heard == [{"pid": ended["pid"], "folder": str(Path.cwd()), "node": "n1"}]
    assert not Path(f"/proc/{ended['pid']}").exists()
    again = done(forks)
    assert again is not None
    assert again["pid"] != ended["pid"]


def test_a_resident_does_job_after_job_until_one_fails(forks: Forks, started: Started) -> None:
    pids = [done(forks, order, stays=True)["pid"] for order in ("", "", "fail", "")]
    assert pids[0] == pids[1] == pids[2] != pids[3]
    assert not Path(f"/proc/{pids[0]}").exists()
    os.kill(pids[3], signal.SIGKILL)  # while it has nothing to do
    assert gone(pids[3])
    assert done(forks, stays=True)["pid"] != pids[3]
    assert len(started.pids) == 1


@pytest.mark.parametrize("stays", [False, True])
def test_a_child_that_dies_is_that_job_s_alone(forks: Forks, started: Started, stays: bool) -> None:
    assert done(forks, "die", stays) is None
    assert done(forks, "", stays)["status"] == "done"
    assert len(started.pids) == 1


def test_a_template_that_dies_is_followed_by_another(forks: Forks, started: Started) -> None:
    before = done(forks, stays=True)
    os.kill(started.pids[0], signal.SIGKILL)
    os.waitpid(started.pids[0], 0)
    assert done(forks, stays=True)["pid"] == before["pid"]  # its child goes on
    assert done(forks, "fail")["pid"] == before["pid"]
    assert gone(before["pid"])
    assert not forks.connected  # so that the next one's code is looked at
    assert done(forks)["status"] == "done"
    assert len(started.pids) == 2
    del started.pids[0]


def test_owners_on_a_machine_share_a_template_and_each_takes_its_children_along(
    forks: Forks, started: Started
) -> None:
    mine = done(forks, stays=True)["pid"]
    ready, say = os.pipe()
    if not (other := os.fork()):  # another worker of Ray's, that is killed
        theirs = Forks("t").perform("", "n1", lambda _: None, stays=True)
        os.write(say, str(theirs["pid"]).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(other, 0)
    assert gone(int(os.read(ready, 100)))
    assert done(forks, stays=True)["pid"] == mine
    assert len(started.pids) == 1
    for end in (ready, say):
        os.close(end)


def test_a_template_that_cannot_start_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libcuda is broken')")
    monkeypatch.setattr(owners.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ChildProcessError, match="ImportError: libcuda is broken"):
        done(Forks("t"))


def test_nothing_is_run_through_a_folder_that_others_may_write(
    started: Started, tmp_path: Path
) -> None:
    (tmp_path / f"mrsweep-{os.getuid()}").mkdir(mode=0o777)
    (tmp_path / f"mrsweep-{os.getuid()}").chmod(0o777)
    with pytest.raises(ChildProcessError, match="open to others"):
        done(Forks("t"))


def test_jobs_on_a_gpu_have_a_process_of_their_own_unless_the_file_says_otherwise() -> None:
    def processes(resources: str, on_gpu: bool) -> dict[str, str]:
        plan = make_plan(parse_sweep(sweep_text(seeds="1", resources=resources)))
        given = Allotments(plan.sweep.resources, on_gpu)
        return {job.kind: given.process(job) for job in plan.jobs.values()}

    kinds = "{kinds: {prune: {gpus: 0}, trial: {process: resident}}}"
    assert processes(kinds, on_gpu=True) == {
        "dense": "fresh", "prune": "worker", "trial": "resident",
    }  # fmt: skip
    assert processes("{process: fresh}", on_gpu=False)["dense"] == "fresh"
    assert set(processes("{}", on_gpu=False).values()) == {"worker"}


def test_a_notice_that_a_node_is_to_go_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse.nodes, "leaving", lambda: {"n1"})
    told: list[str] = []
    for node in ("n1", "n2"):
        with pulse.noticed(node, lambda node=node: told.append(node), every=0.001):
            time.sleep(0.05)
    assert told == ["n1"]
