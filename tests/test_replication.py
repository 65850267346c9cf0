"""Seeds that are added until the verdict is narrow enough, or the budget is spent."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import results
from orchestrator.driver import replication
from orchestrator.driver.replication import planned_seeds, seeds_to_add, without_verdict
from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import SweepFileError, parse_sweep
from orchestrator.sweepfile.resources import Replication, Until
from results.errors import AnalysisError
from results.report.judged import stopping_rule
from results.report.summary import summarise
from results.tables.storage import Storage

from conftest import run_sweep, sweep_text

RULE = "{min: 3, max: 6, until: {half_width: 0.05}}"
FAST = {
    "finetuning": "{none: {epochs: 0}, one: {epochs: 1, lr: 0.05}}",
    "sparsities": "[0.3]",  # at half the cells of so small a sweep do not differ by more than noise
}


def rule(half_width: float = 0.1, maximum: int = 20, hours: float | None = None) -> Replication:
    return Replication(min=3, max=maximum, until=Until(half_width=half_width, hours=hours))


@pytest.mark.parametrize(
    ("count", "width", "given", "seeds"),
    [
        (3, 0.11, rule(), 4),  # nearly there: one more
        (4, 0.2, rule(), 6),  # four times the seeds, but no more than half as many again
        (10, 0.12, rule(), 15),
        (18, 0.5, rule(), 20),  # the budget
    ],
)
def test_seeds_grow_as_the_width_asks(
    count: int, width: float, given: Replication, seeds: int
) -> None:
    assert replication.seeds_for(given, count, width) == seeds


def test_it_ends_when_narrow_or_spent() -> None:
    assert replication._reason(rule(), 3, 0.1, 0.0) == "narrow"
    assert replication._reason(rule(maximum=5), 5, 0.2, 0.0) == "max"
    assert replication._reason(rule(hours=2.0), 4, 0.2, 2.1) == "hours"
    assert replication._reason(rule(hours=2.0), 4, 0.2, 1.9) is None


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("looked")
    run_sweep(sweep_text(seeds=RULE, **FAST), root)
    return root


def test_the_first_seeds_are_planned_and_extended(looked: Path) -> None:
    sweep = parse_sweep(sweep_text(seeds=RULE, **FAST))
    storage = Storage(str(looked))
    first = make_plan(sweep)
    assert first.seeds == (0, 1, 2)
    assert planned_seeds(sweep, storage) == 3
    more = seeds_to_add(first, storage)
    assert more == 1
    assert planned_seeds(sweep, storage) == 4
    assert set(first.trials) < set(make_plan(sweep, 4).trials)
    record = json.loads(storage.read("sweeps", "tiny", "replication.json"))
    assert record["ended"] is None
    assert [look["seeds"] for look in record["looks"]] == [3]
    assert record["looks"][0]["half_width"] > 0.05
    assert record["looks"][0]["device_hours"] > 0
    # The same look again changes nothing.
    assert seeds_to_add(first, storage) == 1
    assert json.loads(storage.read("sweeps", "tiny", "replication.json")) == record


def test_the_report_says_the_rule_and_what_it_saw(looked: Path) -> None:
    sweep = parse_sweep(sweep_text(seeds=RULE, **FAST))
    seeds_to_add(make_plan(sweep), Storage(str(looked)))
    caveats = " ".join(summarise(results.load(str(looked), "tiny")).caveats)
    assert "Seeds were added, from 3 to at most 6" in caveats
    assert "no more than 5 % of the variance to either side" in caveats
    assert "it has not ended yet" in caveats


def test_a_verdict_that_is_narrow_enough_adds_none(
    looked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    easy = sweep_text(seeds="{min: 3, max: 6, until: {half_width: 0.99}}", **FAST)
    monkeypatch.setattr(
        results, "verdict", lambda trials, metric: _Narrow(metric, len(set(trials["seed"])))
    )
    assert seeds_to_add(make_plan(parse_sweep(easy)), Storage(str(looked))) == 0
    record = json.loads(Storage(str(looked)).read("sweeps", "tiny", "replication.json"))
    assert record["ended"] == "narrow"


def test_without_a_verdict_yet_it_says_so_and_goes_on(
    looked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where cells do not differ by more than noise: more seeds may tell them apart."""

    def noise(*_: object) -> None:
        raise AnalysisError("the cells do not differ by more than noise")

    monkeypatch.setattr(results, "verdict", noise)
    plan, storage = make_plan(parse_sweep(sweep_text(seeds=RULE, **FAST))), Storage(str(looked))
    assert seeds_to_add(plan, storage) == 1
    assert "noise" in str(without_verdict(plan.sweep, storage))
    record = json.loads(storage.read("sweeps", "tiny", "replication.json"))
    assert [look["half_width"] for look in record["looks"]] == [None]
    said = " ".join(stopping_rule(record))
    assert "half-widths by number of seeds were 3: no verdict" in said
    spent = sweep_text(seeds="{min: 3, max: 3, until: {half_width: 0.05}}", **FAST)
    assert seeds_to_add(make_plan(parse_sweep(spent)), storage) == 0


class _Narrow:
    def __init__(self, metric: str, seeds: int):
        self.metric, self.seeds, self.low, self.high = metric, seeds, 0.1, 0.2


def test_a_list_of_seeds_adds_none(tmp_path: Path) -> None:
    plan = make_plan(parse_sweep(sweep_text()))
    assert planned_seeds(plan.sweep, Storage(str(tmp_path))) is None
    assert seeds_to_add(plan, Storage(str(tmp_path))) == 0


def test_rules_may_name_seeds_that_are_yet_to_come() -> None:
    text = sweep_text(seeds=RULE, exclude="[{seed: 5, criterion: l1}]")
    assert len(make_plan(parse_sweep(text)).trials) == 12
    assert len(make_plan(parse_sweep(text), 6).trials) == 22
    with pytest.raises(SweepFileError, match="seed has no level 6"):
        parse_sweep(text.replace("seed: 5", "seed: 6"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{min: 2, max: 4, until: {half_width: 0.1}}", "greater than or equal to 3"),
        ("{min: 5, max: 4, until: {half_width: 0.1}}", "seeds: max 4 is less than min 5"),
        ("{max: 4}", "seeds.until: missing"),
        ("{max: 4, until: {half_width: 0.1}, step: 2}", "seeds.step: unknown key"),
        ("[1, 1]", "seeds: repeated: 1"),
    ],
)
def test_wrong_rules_are_refused(given: str, said: str) -> None:
    with pytest.raises(SweepFileError, match=said):
        parse_sweep(sweep_text(seeds=given))


def test_device_hours_count_shares(looked: Path) -> None:
    plan = make_plan(parse_sweep(sweep_text(seeds=RULE, **FAST)))
    frame = pd.read_parquet(looked / "tables" / "jobs")
    hours = replication.device_hours(plan, Storage(str(looked)))
    assert hours == pytest.approx(frame["seconds"].sum() / 3600)
