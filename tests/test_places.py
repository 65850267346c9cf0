"""Places: each job against single nodes, as they are now."""

from __future__ import annotations

from orchestrator.driver.places import Places, bundle
from orchestrator.planning.attempt import Allotment

TWO = {
    "a": {"CPU": 1.0, "memory": 8.0},
    "b": {"CPU": 1.0, "GPU": 1.0, "accelerator_type:A100": 1.0},
}


def places() -> Places:
    made = Places()
    made.see(TWO)
    return made


def test_a_job_of_two_cores_fits_no_node_of_two_that_have_one_each() -> None:
    assert places().could({"CPU": 2.0}) == []
    assert places().could({"CPU": 1.0}) == ["a", "b"]


def test_an_accelerator_and_a_gpu_must_be_of_one_node() -> None:
    wanted = bundle(Allotment(gpus=1, accelerator="A100"))
    assert places().could(wanted) == ["b"]
    assert places().could(wanted | {"memory": 1.0}) == []


def test_room_goes_as_jobs_come_and_comes_back_as_they_end() -> None:
    made = places()
    made.take("first", {"CPU": 1.0, "GPU": 0.5})
    assert made.room({"GPU": 0.5}) == "b"
    assert made.room({"CPU": 1.0}) == "a"
    made.take("second", {"CPU": 1.0})
    assert made.room({"CPU": 0.1}) is None
    made.leave("first")
    assert made.room({"CPU": 1.0, "GPU": 1.0}) == "b"


def test_a_job_says_where_it_really_is() -> None:
    made = places()
    made.take("job", {"CPU": 1.0})  # taken for a's, which has less to spare
    other = "b" if made.room({"CPU": 1.0}) == "b" else "a"
    made.settle("job", other)
    assert made.room({"CPU": 1.0}) == ({"a", "b"} - {other}).pop()


def test_a_node_that_is_lost_takes_its_room_along_and_one_that_joins_brings_its_own() -> None:
    made = places()
    made.take("job", {"CPU": 1.0, "GPU": 1.0})
    made.see({"a": TWO["a"]})
    assert made.room({"GPU": 1.0}) is None
    made.see({"a": TWO["a"], "c": {"CPU": 4.0, "GPU": 1.0}})
    assert made.room({"GPU": 1.0}) == "c"


def test_nodes_to_avoid_are_avoided_while_others_could_do_it() -> None:
    made = places()
    assert made.off({"CPU": 1.0}, avoid=["a"], shut=[]) == ("a",)
    assert made.off({"CPU": 1.0}, avoid=["a", "b"], shut=[]) == ()
    assert made.off({"GPU": 1.0}, avoid=["b"], shut=["a"]) == ("a",)
    assert made.off({"CPU": 1.0}, avoid=["gone"], shut=[]) == ()
