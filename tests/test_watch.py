"""The watch over jobs that run: silence and time limits, by the driver's own clock."""

from __future__ import annotations

from orchestrator.driver.on_ray.watch import DEATH, SILENCE, Watch
from orchestrator.planning.attempt import Beat
from orchestrator.worker.timeout import GRACE


def beat(attempt: int = 1) -> Beat:
    return Beat("job", attempt, "host", 17, "n1")


def test_a_job_past_its_limit_is_ended_once_its_own_watchdog_has_had_its_time() -> None:
    watch = Watch()
    watch.hear(beat(), 100.0, now=0.0)
    watch.hear(beat(), 100.0, now=100.0 + 2 * GRACE)
    assert watch.hanging(now=100.0 + 2 * GRACE) == {}
    found = watch.hanging(now=101.0 + 2 * GRACE)
    assert "took more than 100 s" in found["job"]
    assert watch.hanging(now=102.0 + 2 * GRACE) == {}  # once


def test_a_job_that_falls_silent_is_ended_without_a_limit_too() -> None:
    watch = Watch()
    watch.hear(beat(), None, now=0.0)
    watch.hear(beat(), None, now=5.0)
    assert watch.hanging(now=SILENCE) == {}
    assert "said nothing for" in watch.hanging(now=SILENCE + 6.0)["job"]


def test_no_silence_counts_while_the_driver_hears_nothing_at_all() -> None:
    watch = Watch()
    watch.hear(beat(), None, now=0.0)
    watch.deaf(now=SILENCE)
    assert watch.hanging(now=SILENCE + 1.0) == {}


def test_the_next_attempt_has_its_own_time() -> None:
    watch = Watch()
    watch.hear(beat(), 10.0, now=0.0)
    watch.leave("job")
    watch.hear(beat(2), 10.0, now=500.0)
    assert watch.hanging(now=505.0) == {}


def test_a_process_that_does_not_die_is_given_up() -> None:
    watch = Watch()
    watch.hear(beat(), None, now=0.0)
    watch.hanging(now=SILENCE + 1.0)
    assert watch.undead(now=SILENCE + DEATH) == []
    assert watch.undead(now=SILENCE + DEATH + 2.0) == ["job"]
    assert watch.undead(now=SILENCE + DEATH + 3.0) == []
