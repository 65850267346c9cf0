"""Judging failed attempts: what counts against a job, and what against its node."""

from __future__ import annotations

import pytest

from orchestrator.driver.retries import Nodes, Retries
from orchestrator.planning.attempt import AttemptResult, Cause

AT_START = (-1, 0, 0, 0)


def failed(key: str, cause: Cause, node: str | None = None, error: str = "boom") -> AttemptResult:
    return AttemptResult(key, "failed", error, cause, node=node)


def cluster(*names: str) -> tuple[Nodes, Retries]:
    nodes = Nodes()
    nodes.see(names)
    return nodes, Retries(nodes)


@pytest.mark.parametrize(
    ("cause", "attempts"),
    [("error", 1), ("memory", 2), ("time", 2), ("lost", 3), ("preempted", 20)],
)
def test_attempts_without_progress_are_counted(cause: Cause, attempts: int) -> None:
    _, retries = cluster()
    judged = [retries.final(failed("job", cause), AT_START) for _ in range(attempts)]
    assert judged == [False] * (attempts - 1) + [True]


def test_a_job_that_gets_further_between_kills_is_never_given_up() -> None:
    _, retries = cluster()
    assert not any(retries.final(failed("job", "lost"), (0, n, 0, 0)) for n in range(50))
    assert not retries.final(failed("job", "lost"), (0, 49, 0, 0))
    assert retries.final(failed("job", "lost"), (0, 49, 0, 0))


def test_memory_that_ran_out_is_given_once_more_however_far_the_job_got() -> None:
    _, retries = cluster()
    assert not retries.final(failed("job", "memory"), (0, 1, 0, 0))
    assert retries.grown("job") == 1
    assert retries.final(failed("job", "memory"), (0, 2, 0, 0))


def test_a_kill_does_not_use_up_the_doubling_of_memory() -> None:
    _, retries = cluster()
    assert not retries.final(failed("job", "lost"), AT_START)
    assert not retries.final(failed("job", "memory"), AT_START)


def test_a_node_that_fails_two_jobs_is_given_no_more_and_they_move() -> None:
    nodes, retries = cluster("good", "bad")
    for key in ("one", "two"):
        assert not retries.final(failed(key, "system", "bad", "no data set"), AT_START)
        assert retries.avoid(key) == ("bad",)
    assert nodes.fit == {"good"}
    assert nodes.shut == {"bad": "no data set"}
    assert retries.avoid("three") == ()  # shut nodes are for all; what befell a job is its own


def test_a_node_that_does_a_job_in_between_is_fit() -> None:
    nodes, retries = cluster("a", "b")
    retries.final(failed("one", "system", "b"), AT_START)
    nodes.well("b")
    retries.final(failed("two", "system", "b"), AT_START)
    assert nodes.fit == {"a", "b"}


def test_the_same_error_on_two_nodes_is_the_job_s_and_no_node_s() -> None:
    nodes, retries = cluster("a", "b", "c")
    assert not retries.final(failed("one", "system", "a", "no module x, pid 17"), AT_START)
    assert not retries.final(failed("two", "system", "a", "no module x, pid 18"), AT_START)
    assert nodes.fit == {"b", "c"}
    assert retries.final(failed("one", "system", "b", "no module x, pid 99"), AT_START)
    assert nodes.fit == {"a", "b", "c"}
    assert retries.final(failed("two", "system", "c", "no module x, pid 98"), AT_START)
    assert nodes.suspect == ()


def test_jobs_that_a_bad_node_failed_try_a_node_without_a_fault_first() -> None:
    """Two of three nodes have no data: the first job must not take the second for its proof."""
    _, retries = cluster("a", "b", "c")
    retries.final(failed("one", "system", "a", "no data"), AT_START)
    retries.final(failed("two", "system", "b", "no data"), AT_START)
    assert retries.avoid("one") == ("a", "b")


def test_the_last_node_is_never_closed_and_its_errors_are_final_in_the_end() -> None:
    nodes, retries = cluster("only")
    judged = [retries.final(failed("one", "system", "only", f"e{n}"), AT_START) for n in range(3)]
    assert judged == [False, False, True]
    retries.final(failed("two", "system", "only"), AT_START)
    assert nodes.fit == {"only"}


def test_a_job_that_every_node_refuses_for_another_reason_is_given_up() -> None:
    _, retries = cluster(*"abcdefgh")
    errors = ["apple", "pear", "plum", "fig", "lime"]
    judged = [
        retries.final(failed("one", "system", node, error), AT_START)
        for node, error in zip("abcde", errors, strict=True)
    ]
    assert judged == [False] * 4 + [True]
