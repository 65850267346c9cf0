"""The head of a cluster: a run ends in its own words before Ray would end it without."""

from __future__ import annotations

import socket
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.driver.executors import RAY_ENVIRONMENT
from orchestrator.driver.launch import ResourceError
from orchestrator.driver.on_ray import cluster, head
from orchestrator.driver.on_ray.cluster import Cluster
from orchestrator.driver.on_ray.head import SILENCE, Head


def test_a_head_that_listens_no_more_is_lost() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        watched = Head(f"127.0.0.1:{server.getsockname()[1]}", silence=0.05, look=0.01)
        assert not watched.lost.wait(0.2)
    assert watched.lost.wait(10)


@pytest.mark.parametrize(
    ("heard", "lost"),
    [([False, True, False, True], False), ([True, False, False, False], True)],
)
def test_one_that_comes_back_in_time_is_not(
    heard: list[bool], lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of looks 40 s apart; it is lost after 60 s without an answer."""
    watched, now = object.__new__(Head), [0.0]
    watched.address, watched._silence, watched._pause = "head:1", SILENCE, 0.0
    watched.lost, watched._over = threading.Event(), threading.Event()

    def answers(address: str) -> bool:
        now[0] += 40
        if len(heard) == 1:
            watched.leave()
        return heard.pop(0)

    monkeypatch.setattr(head, "answers", answers)
    monkeypatch.setattr(head, "time", SimpleNamespace(monotonic=lambda: now[0]))
    watched._look()
    assert watched.lost.is_set() is lost


def test_a_run_whose_head_is_lost_ends_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    over, lost = threading.Event(), threading.Event()
    lost.set()
    asked: list[str] = []
    supply = SimpleNamespace(check=lambda: None, close=lambda: asked.append("of what is gone"))
    context = SimpleNamespace(gcs_address="10.0.0.1:6379")
    watched = SimpleNamespace(lost=lost, address=context.gcs_address, leave=lambda: None)
    ways: dict[str, Any] = {
        "ray": SimpleNamespace(get_runtime_context=lambda: context),
        "Supply": lambda *_: supply,
        "Listener": lambda: None,
        "Jobs": lambda *_: SimpleNamespace(failure=None, abandon=over.set),
        "Head": lambda address: watched,
        "tune_jobs": lambda jobs, scratch: over.wait(30),
    }
    for name, way in ways.items():
        monkeypatch.setattr(cluster, name, way)
    launch: Any = None
    with pytest.raises(ResourceError, match=r"10\.0\.0\.1:6379, does not answer any more"):
        Cluster("cpu", "", 900.0).execute(launch)
    assert over.is_set()
    assert not asked


def test_ray_gives_a_lost_head_more_time_than_the_run_does() -> None:
    """It ends the process when that is over, with exit code 1."""
    assert float(RAY_ENVIRONMENT["RAY_gcs_rpc_server_reconnect_timeout_s"]) > 2 * SILENCE
