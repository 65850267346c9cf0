"""Plans: what is shared, what an extension adds, what overrides and exclusions do."""

from __future__ import annotations

from collections import Counter

import pytest

from orchestrator.plan import Plan, make_plan
from orchestrator.sweepfile import SweepFileError, parse_sweep, read_sweep
from prune_core.stages import Finetuned, Trial

from conftest import DEMO, sweep_text


def plan_of(**changes: str) -> Plan:
    return make_plan(parse_sweep(sweep_text(**changes)))


def test_the_demo_has_its_288_trials_and_shares_the_rest() -> None:
    plan = make_plan(read_sweep(DEMO))
    kinds = Counter(job.kind for job in plan.jobs.values())
    # 2 architectures x 3 seeds dense (and sensitivities); x 4 criteria x 2 sparsities x 2 ways
    assert kinds == {"dense": 6, "sensitivity": 6, "prune": 96, "trial": 288}


def test_parents_come_before_children_and_longest_paths_first() -> None:
    plan = plan_of()
    seen: set[str] = set()
    for key, job in plan.jobs.items():
        assert set(job.parents) <= seen
        seen.add(key)
        for parent in job.parents:
            assert plan.path_weights[parent] > plan.path_weights[key]


def test_an_extended_sweep_keeps_its_trials() -> None:
    before, after = plan_of(), plan_of(criteria="[random, l1, l2]")
    assert set(before.trials) < set(after.trials)
    new = set(after.jobs) - set(before.jobs)
    assert Counter(after.jobs[key].kind for key in new) == {"prune": 2, "trial": 4}


def test_levels_have_names_but_keys_have_none() -> None:
    renamed = plan_of(finetuning="{zero: {epochs: 0}, two: {epochs: 2, lr: 5e-2}}")
    assert set(renamed.trials) == set(plan_of().trials)
    assert {row["finetuning"] for row in renamed.rows()} == {"zero", "two"}


def test_excluded_cells_are_not_planned() -> None:
    plan = plan_of(exclude="[{criterion: random, finetuning: none}, {seed: 1}]")
    cells = {(row["criterion"], row["finetuning"], row["seed"]) for row in plan.rows()}
    assert cells == {("l1", "none", 0), ("l1", "standard", 0), ("random", "standard", 0)}
    with pytest.raises(SweepFileError, match="leaves no cell over"):
        plan_of(exclude="[{architecture: resnet8}]")


def test_overrides_apply_in_order_to_what_they_match() -> None:
    plan = plan_of(
        overrides="[{where: {finetuning: standard}, set: {finetuning.lr: 1/4}}, "
        "{where: {criterion: l1, finetuning: standard}, set: {finetuning.lr: 0.5}}]"
    )
    rates = {
        job.labels["criterion"]: job.stage.network.training.lr
        for job in plan.trials.values()
        if isinstance(job.stage.network, Finetuned)
    }
    assert rates == {"random": 0.25, "l1": 0.5}


def test_two_cells_that_are_one_trial_are_refused() -> None:
    two = "{a: {epochs: 2, lr: 0.1}, b: {epochs: 2, lr: 0.2}}"
    override = "[{where: {finetuning: b}, set: {finetuning.lr: 0.1}}]"
    with pytest.raises(SweepFileError, match=r"the same trial twice: .*finetuning=a.* and "):
        plan_of(finetuning=two, overrides=override)


def test_only_mrs_needs_a_sensitivity() -> None:
    plan = plan_of(allocations="[uniform, global, mrs, mrs-few-step]")
    found = {job.labels["allocation"]: job.stage.pruned.sensitivity for job in plan.trials.values()}
    assert found["uniform"] is None
    assert found["global"] is None
    assert found["mrs"].estimator == "mrs"
    assert found["mrs-few-step"].estimator == "mrs-few-step"


def test_a_trial_goes_through_json_unchanged() -> None:
    for job in plan_of(allocations="[mrs]").trials.values():
        again = Trial.model_validate_json(job.stage.model_dump_json())
        assert again == job.stage
        assert again.key == job.key
