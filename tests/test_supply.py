"""The nodes of a cluster as a launch sees them: drained ones, and jobs that wait for one."""

from __future__ import annotations

import re
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.driver.on_ray import nodes
from orchestrator.driver.on_ray.supply import Supply
from orchestrator.driver.places import Places
from orchestrator.driver.retries import Nodes
from orchestrator.planning.attempt import Allotment


def test_a_node_that_is_drained_is_given_nothing_new(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [
        {"NodeID": name, "Alive": name != "dead", "Resources": {"CPU": 1.0}}
        for name in ("leaves", "stays", "dead")
    ]
    monkeypatch.setattr(nodes.ray, "nodes", lambda: there)
    monkeypatch.setattr(nodes.state, "get_draining_nodes", lambda: {"leaves": 0})
    assert nodes.present() == {"stays": {"CPU": 1.0}}


@pytest.fixture
def supply() -> Supply:
    """Two nodes of one CPU."""
    known = object.__new__(Supply)
    known.places, known._off = Places(), {}
    known._launch = SimpleNamespace(nodes=Nodes())  # type: ignore[assignment]  # all that is read
    known.places.see({"a": {"CPU": 1.0}, "b": {"CPU": 1.0}})
    return known


def order(key: str, cpus: float = 1, avoid: tuple[str, ...] = ()) -> Any:
    return SimpleNamespace(job=SimpleNamespace(key=key), allotment=Allotment(cpus), avoid=avoid)


def test_a_job_that_waits_is_taken_back_when_a_node_is_shut_on_which_it_could_start(
    supply: Supply,
) -> None:
    before, later = order("1"), order("2")
    assert supply.hand_out(before) == ()
    assert not supply.strands(before)
    supply._launch.nodes.close("b", "it has other images")
    assert supply.strands(before)
    assert supply.hand_out(later) == ("b",)
    assert not supply.strands(later)
    supply.places.see({"b": {"CPU": 1.0}})
    assert supply.strands(later)  # nothing is left that it could start on


def test_room_comes_back_when_a_job_ends(supply: Supply) -> None:
    supply.hand_out(order("1"))
    supply.hand_out(order("2"))
    assert not supply.fits(Allotment(1), ())
    supply.leave("1")
    assert supply.fits(Allotment(1), ())
    assert not supply.fits(Allotment(2), ())


def test_what_is_waited_for_is_said_as_people_say_it(
    supply: Supply, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    supply._launch.progress = SimpleNamespace(noted=said.append)  # type: ignore[assignment]  # all that is used
    supply._since, supply.growing = {}, True
    monkeypatch.setattr(nodes, "present", lambda: {"a": {"CPU": 1.0}})
    supply._name(Counter({"1 CPU": 1, "2 CPUs and 1 GPU": 3}))
    supply._name(Counter())
    assert re.fullmatch(
        r"1 job waits for a node with 1 CPU since ..:..:.., asked for; the nodes have: 1 x 1 CPU",
        said[0],
    )
    assert said[1].startswith("3 jobs wait for a node with 2 CPUs and 1 GPU since ")
    assert said[2] == "no job waits any more for a node with 1 CPU"
