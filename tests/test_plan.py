"""Plans: what is shared, what an extension adds, what overrides and exclusions do."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from orchestrator.cli.status import show_plan
from orchestrator.planning.attempt import Allotment, Order, decode_order, encode_order
from orchestrator.planning.cautions import cautions
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.state.survey import survey
from orchestrator.sweepfile.model import SweepFileError, parse_sweep, read_sweep
from prune_core.specs.registry import CRITERIA
from prune_core.specs.stages import Finetuned, Sensitivity, Trial
from results.tables.storage import Storage

from conftest import DEMO, sweep_text
from rows import names


def plan_of(**changes: str) -> Plan:
    return make_plan(parse_sweep(sweep_text(**changes)))


def test_the_demo_has_its_288_trials_and_shares_the_rest() -> None:
    plan = make_plan(read_sweep(DEMO))
    kinds = Counter(job.kind for job in plan.jobs.values())
    # 2 architectures x 3 seeds dense (and scores of the one criterion that reads images);
    # x 4 criteria (each with its own damage curves); x 2 sparsities x 2 ways
    assert kinds == {"dense": 6, "sensitivity": 24, "scores": 6, "prune": 96, "trial": 288}


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
    with pytest.raises(SweepFileError, match="leaves no cell"):
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
    plan = plan_of(allocations="[uniform, size, mrs, mrs-perturbation]")
    found = {job.labels["allocation"]: job.stage.pruned.sensitivity for job in plan.trials.values()}
    assert found["uniform"] is None
    assert found["size"] is None
    assert found["mrs"].estimator == "damage"
    assert found["mrs-perturbation"].estimator == "perturbation"


def test_damage_is_that_of_the_cell_s_own_criterion_and_granularity() -> None:
    """And the scan's is always that of l1; a job waits for scores that need images."""
    plan = plan_of(
        criteria="[l1, taylor]", allocations="[mrs, mrs-inverse, scan]", seeds="1",
        granularities="[channel, weight]",
    )  # fmt: skip
    removed: dict[str, set[tuple[str, str]]] = {"damage": set(), "scan": set()}
    for job in plan.jobs.values():
        if isinstance(job.stage, Sensitivity):
            removed[job.stage.estimator].add((job.stage.scores.criterion, job.stage.granularity))
            waits = job.stage.scores.criterion == "taylor"
            assert (job.stage.scores.key in job.parents) == waits
    assert removed["damage"] == {(c, g) for c in ("l1", "taylor") for g in ("channel", "weight")}
    assert removed["scan"] == {("l1", "channel"), ("l1", "weight")}
    jobs = [job for job in plan.jobs.values() if isinstance(job.stage, Sensitivity)]
    assert len(jobs) == 6  # the control shares those of mrs


def test_a_trial_goes_through_json_unchanged() -> None:
    for job in plan_of(allocations="[mrs]").trials.values():
        again = Trial.model_validate_json(job.stage.model_dump_json())
        assert again == job.stage
        assert again.key == job.key


ITERATIVE = "{rounds: {objective: standard, policy: iterative, rounds: 3, epochs: 5, lr: 0.01}}"


def test_iterative_pruning_goes_in_geometric_rounds() -> None:
    plan = plan_of(
        finetuning=ITERATIVE,
        criteria="[taylor]",
        sparsities="[0.875]",
        seeds="1",
        evaluation="{attacks: [fgsm], sanity_images: 16}",
    )
    (job,) = plan.trials.values()
    rounds = job.stage.trainings[::-1]
    assert [stage.pruned.sparsity for stage in rounds] == pytest.approx([0.5, 0.75, 0.875])
    assert [stage.training.epochs for stage in rounds] == [1, 2, 2]
    assert rounds[0].pruned.network is job.stage.dense
    assert rounds[1].pruned.network is rounds[0]
    assert rounds[2].pruned.scores.network is rounds[1]
    kinds = Counter(job.kind for job in plan.jobs.values())
    assert kinds == {"dense": 1, "scores": 1, "prune": 1, "trial": 1}
    dense = job.stage.dense.key  # the checks transfer images from it
    assert job.parents == (rounds[0].pruned.key, dense)


def test_a_job_travels_whole_and_short() -> None:
    """Ten rounds deep, every stage is written once; what comes back has the same keys."""
    finetuning = ITERATIVE.replace("rounds: 3, epochs: 5", "rounds: 10, epochs: 10")
    plan = plan_of(
        finetuning=finetuning, allocations="[mrs, lamp, global]", criteria="[taylor, l1]"
    )
    for job in plan.jobs.values():
        order = Order(job, "root", "cuda", ("dense",), 2, Allotment(2, 0.5, 10), 3.0, avoid=("n1",))
        text = encode_order(order)
        assert len(text) < 100_000
        assert replace(decode_order(text), job=job) == order
        again = decode_order(text).job
        assert again.key == job.key
        assert again.parents == job.parents
        assert [e.key for e in again.evaluations] == [e.key for e in job.evaluations]
        assert again.labels == job.labels


def test_scores_are_shared_by_sparsities_and_allocations() -> None:
    plan = plan_of(criteria="[taylor]", sparsities="[0.3, 0.5]", allocations="[uniform, global]")
    kinds = Counter(job.kind for job in plan.jobs.values())
    assert kinds["scores"] == kinds["dense"] == 2
    learned = plan_of(criteria="[learned]", sparsities="[0.3, 0.5]")
    assert Counter(job.kind for job in learned.jobs.values())["scores"] == 4


IMPOSSIBLE = [
    ({"criteria": "[l1, hrank]", "granularities": "[channel, weight]"},
     "criterion 'hrank' scores channels, not the weights of granularity 'weight'"),
    ({"granularities": "[2:4]", "sparsities": "[0.3, 0.5]"}, "removes 50% at least, more than"),
    ({"sparsities": "[0.5, 0.99]"}, "layers keep at least pruning.min_keep 0.1 of their outputs"),
    ({"sparsities": "[0.5, 0.91]", "pruning": "{min_keep: 0.3}"}, "no network loses 0.91; lower"),
    ({"criteria": "[l1, adv-l1]"}, "criterion 'adv-l1' is none: l1 reads no images"),
    ({"criteria": "[adv-hydra]"}, "criterion 'adv-hydra' is none: hydra attacks images itself"),
    ({"granularities": "[4:4]"}, "removes nothing; give n:m with n less than m"),
    ({"allocations": "[fixed]"}, "needs pruning.ratios for resnet8"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), IMPOSSIBLE)
def test_cells_that_cannot_be_are_refused_with_a_way_out(
    changes: dict[str, str], words: str
) -> None:
    with pytest.raises(SweepFileError) as caught:
        plan_of(**changes)
    assert words in str(caught.value)
    if "exclude: " in str(caught.value):  # and the way out is one
        rule = str(caught.value).partition("exclude: ")[2]
        assert plan_of(**changes, exclude=rule).trials


def test_a_rule_may_give_several_levels() -> None:
    plan = plan_of(criteria="[random, l1, l2]", exclude="[{criterion: [l1, l2], seed: 0}]")
    left = {(job.labels["criterion"], job.labels["seed"]) for job in plan.trials.values()}
    assert left == {("random", 0), ("random", 1), ("l1", 1), ("l2", 1)}


def test_ratios_from_a_file_are_part_of_the_key(tmp_path: Path) -> None:
    ratios = {"network.conv": 0.5}
    (tmp_path / "ratios.yaml").write_text(yaml.safe_dump({"resnet8": ratios}))
    written = plan_of(allocations="[fixed]", pruning="{ratios: {resnet8: {network.conv: 0.5}}}")
    read = plan_of(allocations="[fixed]", pruning=f"{{ratios: {tmp_path / 'ratios.yaml'}}}")
    assert list(read.jobs) == list(written.jobs)
    with pytest.raises(SweepFileError, match=r"pruning.ratios: .*no.yaml.* cannot be read"):
        plan_of(allocations="[fixed]", pruning=f"{{ratios: {tmp_path / 'no.yaml'}}}")


SWEEPS = DEMO.parent


@pytest.mark.parametrize("file", sorted(SWEEPS.glob("*.yaml")), ids=lambda f: f.stem)
def test_the_sweeps_that_ship_make_a_plan(file: Path) -> None:
    assert make_plan(read_sweep(file)).trials


def test_the_methods_sweep_leaves_no_method_out() -> None:
    sweep = read_sweep(SWEEPS / "methods.yaml")
    assert {CRITERIA[name].name for name in sweep.criteria} == set(CRITERIA.methods)
    assert set(sweep.allocations) == set(names("allocations"))
    assert set(sweep.granularities) == set(names("granularities"))
    channel_only = [n for n in sweep.criteria if "channels" in CRITERIA[n].traits]
    cells = len(sweep.criteria) * len(sweep.allocations) * len(sweep.granularities)
    left_out = len(channel_only) * len(sweep.allocations) * 2
    assert len(make_plan(sweep).trials) == cells - left_out


def test_scores_of_many_scales_ranked_together_are_said_to_be(storage: Storage) -> None:
    plan = plan_of(criteria="[l1, fpgm, 'outside:smallest_first']", allocations="[uniform, global]")
    shown = io.StringIO()
    show_plan(plan, storage, survey(plan, storage), Console(file=shown, width=1000))
    assert "Note: allocation global ranks" in shown.getvalue()
    assert "scores of fpgm, outside:smallest_first have another scale" in shown.getvalue()
    assert cautions(plan_of(criteria="[fpgm]", allocations="[global-normalised]")) == []
    assert cautions(plan_of(criteria="[l1, random]", allocations="[global]")) == []


def test_cells_that_are_one_network_by_definition_are_named_with_a_way_out() -> None:
    both = {"criteria": "[lamp, l1]", "allocations": "[global, lamp]"}
    (caution,) = cautions(plan_of(**both))
    assert caution.startswith("with criterion lamp allocations global and lamp give one network")
    assert cautions(plan_of(**both, exclude=caution.partition("exclude: ")[2])) == []
    assert cautions(plan_of(criteria="[lamp]", allocations="[uniform, lamp]")) == []


def test_stages_share_what_they_have_alike() -> None:
    """Of a plan of 100,000 trials these are half of the memory."""
    first, second, *_ = (job.stage for job in plan_of().trials.values())
    assert first.key != second.key
    assert first.__pydantic_fields_set__ is second.__pydantic_fields_set__
    assert first.outside is second.outside
