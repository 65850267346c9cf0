"""Estimates: from jobs on the same images with the same network, or said to be unknown."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from orchestrator.cli.status import show_plan
from orchestrator.driver.timing import timed
from orchestrator.planning.disk import disk
from orchestrator.planning.estimates import (
    FACTOR,
    PROBE,
    TIMED,
    devices_of,
    jobs_table,
    probe_of,
    rates,
    seconds_left,
)
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.planning.work import attack_passes, images_in_words
from orchestrator.state.survey import survey
from orchestrator.sweepfile.model import parse_sweep
from prune_core.specs.stages import dense_of
from results.tables.storage import Storage
from results.tables.store import Tables

from conftest import sweep_text

END = pd.Timestamp("2026-01-02", tz="UTC")


def plan_of(**changes: str) -> Plan:
    return make_plan(parse_sweep(sweep_text(**changes)))


def jobs(plan: Plan, seconds: float = 10.0, **changes: Any) -> pd.DataFrame:
    """Rows of a plan's jobs, that take so long for every thousand passes."""
    return pd.DataFrame(
        {
            "key": job.key, "kind": job.kind, "architecture": job.architecture, "status": "done",
            "resumed_epoch": 0, "device": "cpu", "accelerator": None, "end": END, "images": 1000,
            "dataset": images_in_words(dense_of(job.stage).dataset),
            "work": (work := job.work.over(1000)), "seconds": seconds * work / 1000, **changes,
        }
        for job in plan.jobs.values()
    )  # fmt: skip


def test_jobs_of_another_sweep_count_where_network_and_images_are_the_same() -> None:
    done, asked = jobs(plan_of(criteria="[l2]")), plan_of()
    rate = rates(done, asked)
    for job in asked.jobs.values():
        seconds = job.work.over(1000) / 100
        assert rate(job) == pytest.approx((seconds, seconds, seconds)), job.kind


@pytest.mark.parametrize(
    "changes",
    [
        {"architectures": "[vgg8]"},
        {"dataset": "generated"},
        {"dataset": "{name: digits, per_class: 50}"},
    ],
)
def test_what_is_known_of_other_images_or_networks_says_nothing(changes: dict[str, str]) -> None:
    asked = plan_of(**changes)
    left = seconds_left(rates(jobs(plan_of()), asked), asked, asked.jobs)
    (job, *_) = asked.jobs.values()
    what = f"{job.architecture} on {dense_of(job.stage).dataset.name}"
    for kind, each in left.items():
        count = sum(job.kind == kind for job in asked.jobs.values())
        assert (each.seconds, each.unknown) == (0, {what: count})


def test_a_batch_that_was_timed_stands_for_every_kind_with_a_range() -> None:
    asked = plan_of()
    probe = jobs(asked).head(1).assign(kind=PROBE, key="probe-1")
    rate = rates(probe, asked)
    for job in asked.jobs.values():
        seconds = job.work.over(1000) / 100
        assert rate(job) == pytest.approx((seconds, seconds / FACTOR, seconds * FACTOR))


def test_parts_that_were_timed_add_up_to_jobs() -> None:
    """Each at its own pace, and one that was not timed at that of the others, with more doubt."""
    asked = plan_of(evaluation="{attacks: [fgsm, pgd-20], sanity_images: 0}")
    (dense, *_) = asked.jobs.values()
    paces = {"training standard": 1.0, "clean": 2.0, "pgd-20": 50.0}
    doubt = {"training standard": TIMED, "clean": TIMED, "pgd-20": FACTOR}
    (like,) = jobs(asked).head(1).to_dict("records")
    timed = pd.DataFrame(
        {**like, "key": f"probe-{part}", "kind": probe_of(part), "work": 1.0, "seconds": pace}
        for part, pace in paces.items()
    )
    estimate = rates(timed, asked)(dense)
    passes = {part: work.over(1000) for part, work in dense.work.parts.items()}
    assert passes.keys() == {*paces, "fgsm"}
    known = sum(paces[part] * passes[part] for part in paces)
    counted = sum(paces.values()) / len(paces) * passes["fgsm"]
    assert estimate is not None
    assert estimate.seconds == pytest.approx(known + counted)
    high = sum(doubt[part] * paces[part] * passes[part] for part in paces)
    low = sum(paces[part] * passes[part] / doubt[part] for part in paces)
    assert estimate.high == pytest.approx(high + FACTOR * counted)
    assert estimate.low == pytest.approx(low + counted / FACTOR)


def test_devices_that_are_used_no_longer_do_not_count() -> None:
    asked = plan_of()
    old = jobs(asked, end=END - pd.Timedelta(days=9), accelerator="old")
    both = pd.concat([old, jobs(asked, 1.0, accelerator="new")])
    assert devices_of(both) == ["new"]
    (dense, *_) = asked.jobs.values()
    assert rates(both, asked)(dense).seconds == pytest.approx(dense.work.over(1000) / 1000)


def test_attacks_have_their_length() -> None:
    passes = [attack_passes(name) for name in ("clean", "fgsm", "pgd-20", "pgd-20-5")]
    assert passes == [1.0, 2.5, 31.0, 151.0]
    assert attack_passes("corruption-fog-3") == 1.0
    assert attack_passes("fgsm+pgd-20") == 2.5 + 31 / 2
    assert attack_passes("autoattack") > 10 * attack_passes("apgd-ce")
    assert attack_passes("fmn-100") == 151.0
    assert attack_passes("ho-fmn-32") == 1 + 1.5 * (200 + 32 * 100 / 8)


def shown(plan: Plan, storage: Storage) -> str:
    text = io.StringIO()
    show_plan(plan, storage, survey(plan, storage), Console(file=text, width=200))
    return text.getvalue()


def test_a_plan_says_what_is_unknown_what_is_counted_and_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.driver.timing.EACH", 0.2)
    asked = plan_of(seeds="1", criteria="[l1]", finetuning="{none: {epochs: 0}}")
    storage = Storage(str(tmp_path))
    before = shown(asked, storage)
    assert "Unknown: 3 jobs of resnet8 on digits: none has run in this storage" in before
    assert "sizes not known yet: dense of resnet8, prune of resnet8" in before
    tables = Tables(storage)
    tables.write("jobs", list(timed(asked, asked.jobs, "cpu")))
    tables.commit()
    rows = tables.read("jobs")
    assert set(rows["kind"]) == {
        f"{PROBE} {part}" for part in ("clean", "fgsm", "training standard")
    }
    assert set(rows["dataset"]) == {"digits per_class=40 test_per_class=10"}
    assert set(rows["images"]) == {360}
    counted = shown(asked, storage)
    assert " to " in counted
    assert "Unknown" not in counted


def test_a_plan_after_a_sweep_has_its_rates_and_sizes(undisturbed: Path) -> None:
    storage, more = Storage(str(undisturbed)), plan_of(seeds="4")
    measured = shown(more, storage)
    assert " to " not in measured
    assert "device-hours on cpu" in measured
    assert "sizes not known yet" not in measured
    sizes = {"dense": storage.sizes("artifacts", "dense")}
    kept, unknown = disk(more, sizes, jobs_table(Tables(storage)))
    assert kept == pytest.approx(2 * sum(sizes["dense"].values()))
    assert unknown == {"prune of resnet8"}
