"""Addresses of clusters: what cannot be joined is refused at once, with what to do."""

from __future__ import annotations

import socket
import time
from functools import partial
from types import SimpleNamespace

import pytest
from listening import SETTINGS, listening

from orchestrator.driver.address import check_address
from orchestrator.driver.launch import ResourceError
from orchestrator.driver.on_ray import join
from orchestrator.driver.on_ray.handshake import code_reader, trainable_for
from orchestrator.driver.on_ray.tune import Jobs


def test_ray_s_client_is_refused_with_what_to_do() -> None:
    with pytest.raises(ResourceError, match="ray job submit"):
        check_address("ray://head:10001")


@pytest.mark.parametrize(
    "address", ["head", "head:", ":6379", "http://head", "head:99999", "head:0"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ResourceError, match="HOST:PORT"):
        check_address(address)


@pytest.mark.parametrize("host", ["no..name", "no-such-machine.invalid"])
def test_a_machine_that_is_not_known_is_named(host: str) -> None:
    with pytest.raises(ResourceError, match=f"no machine is called '{host}'"):
        check_address(f"{host}:6379", seconds=5)


def test_an_address_where_nothing_listens_is_refused_in_time() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(ResourceError, match=f"no Ray cluster answers at '{address}'"):
            check_address(address, seconds=0.3)
        assert time.monotonic() - began < 5


def test_one_where_ray_may_listen_is_joined() -> None:
    with listening(SETTINGS) as address:
        check_address(address, seconds=5)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.0 400 Bad request\r\n\r\n", "what listens there is not Ray"),
        (b"+OK", "closes the connection"),
        (b"", "closes the connection"),
        (None, "timed out"),
    ],
)
def test_one_where_something_else_listens_is_refused_in_time(
    answer: bytes | None, why: str
) -> None:
    began = time.monotonic()
    with listening(answer) as address, pytest.raises(ResourceError, match=why):
        check_address(address, seconds=0.3)
    assert time.monotonic() - began < 5


def test_ray_s_own_variable_is_what_auto_means(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(b"HTTP/1.0 400 Bad request\r\n\r\n") as address:
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(ResourceError, match=f"at '{address}'"):
            check_address("auto", seconds=5)


def test_an_auto_that_is_gone_is_refused_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        gone = f"127.0.0.1:{taken.getsockname()[1]}"
        found = "canonicalize_bootstrap_address_or_die"
        monkeypatch.setattr(join.services, found, lambda address: gone)
        monkeypatch.setattr(join, "check_address", partial(check_address, seconds=0.3))
        with (
            pytest.raises(ResourceError, match=f"at '{gone}'"),
            join.joined("cpu", 1, "auto", patience=1.0),
        ):
            pass


def test_the_code_is_all_of_ours_and_the_libraries_that_compute() -> None:
    code = code_reader()()
    assert set(code) == {"mrsweep", "torch", "torchvision", "timm", "torch-pruning"}
    assert "+" not in code["torch"]
    assert code_reader()() == code


def test_what_a_worker_is_asked_goes_there_by_value() -> None:
    """A worker with other code would run its own version of what is only named."""
    from ray import cloudpickle

    sent = cloudpickle.dumps(trainable_for({"mrsweep": "0"}, None, "name"))
    assert b"sha256" in sent
    assert b"its code is not the driver's" in sent


class Nodes:
    """A cluster whose autoscaler has begun to launch nodes, or not, and has some after a while."""

    def __init__(self, launches: bool, comes_after: float = 1e9) -> None:
        self.launches, self.comes_after, self.now = launches, comes_after, 0.0
        self.asked: list[object] = []

    def present(self) -> dict[str, dict[str, float]]:
        return {"head": {}, **({"g": {"GPU": 1}} if self.now >= self.comes_after else {})}

    def launching(self) -> bool:
        return self.launches

    def ask_for(self, bundles: list[object]) -> None:
        self.asked.append(bundles)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("device", "grows", "nodes", "found", "seconds"),
    [
        ("cuda", True, Nodes(False), "cuda", 0),
        ("auto", True, Nodes(True, comes_after=0), "cuda", 0),
        ("auto", False, Nodes(False), "cpu", 0),
        ("auto", True, Nodes(True, comes_after=100), "cuda", 100),
        ("auto", True, Nodes(False), "cpu", join.LAUNCH),
        ("auto", True, Nodes(True), "no node with a GPU came within 10 minutes", 600),
    ],
)
def test_what_auto_is_follows_from_what_the_autoscaler_adds(
    device: str,
    grows: bool,
    nodes: Nodes,
    found: str,
    seconds: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(join, "nodes", nodes)
    monkeypatch.setattr(join.time, "sleep", nodes.sleep)
    monkeypatch.setattr(join.time, "monotonic", lambda: nodes.now)
    if found in ("cpu", "cuda"):
        assert join.resolved(device, grows, 600.0) == found
    else:
        with pytest.raises(ResourceError, match=found):
            join.resolved(device, grows, 600.0)
    assert nodes.now == pytest.approx(seconds, abs=1)
    waited = bool(seconds)
    assert nodes.asked[:1] == ([[{"CPU": 1, "GPU": 1}]] if waited else [])
    assert nodes.asked[1:] == ([[]] if waited and found != "cuda" else [])


def test_nodes_are_looked_at_while_tune_only_asks_for_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing running it takes no step, for ten minutes: a node that comes must be seen."""
    looked: list[str] = []
    jobs = object.__new__(Jobs)
    launch = SimpleNamespace(finished=False, stopping=False, take=lambda fits: None)
    supply = SimpleNamespace(fits=None, look=lambda: looked.append("look"))
    vars(jobs).update(launch=launch, _supply=supply, failure=None, _orders={}, _most_waiting=0)
    monkeypatch.setattr(Jobs, "_listen", lambda self: looked.append("listen"))
    monkeypatch.setattr(Jobs, "_waiting", lambda self: {})
    assert jobs.suggest("t1") is None
    assert looked == ["listen", "look"]
