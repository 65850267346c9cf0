"""Keys: what is in them, what is not, and that they stay what they are."""

from __future__ import annotations

import math

import pytest

from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import parse_sweep, read_sweep
from prune_core.specs.keys import KEY_DIGITS, canonical, derive_seed, stage_key
from prune_core.specs.settings import Dataset
from prune_core.specs.stages import Evaluation

from conftest import DEMO, THREAT, dense_stage, sweep_text

# Golden keys. A change here means that every stored result of that stage is left behind: raise the
# stage's version on purpose, or undo what changed the key.
GOLDEN = {
    "dense": "66cf8a7d8d0bf6635b9c",
    "evaluate": "d4f2c3cb67e0734b8c7c",
}


def test_golden_keys() -> None:
    dense = dense_stage()
    assert dense.key == GOLDEN["dense"]
    assert Evaluation(network=dense, attack="fgsm", threat=THREAT).key == GOLDEN["evaluate"]


def test_golden_trials_of_the_demo() -> None:
    plan = make_plan(read_sweep(DEMO))
    assert [list(plan.trials)[i] for i in (0, -1)] == GOLDEN_DEMO


GOLDEN_DEMO = ["774560127aa44df0b842", "692c8bd5ba5fcdf42b9a"]


def test_a_key_is_of_spec_parents_stage_and_version() -> None:
    base = stage_key("a", 1, {"x": "1"}, {"p": "k"})
    assert len(base) == KEY_DIGITS >= 16
    others = [
        stage_key("b", 1, {"x": "1"}, {"p": "k"}),
        stage_key("a", 2, {"x": "1"}, {"p": "k"}),
        stage_key("a", 1, {"x": "2"}, {"p": "k"}),
        stage_key("a", 1, {"x": "1"}, {"p": "l"}),
        stage_key("a", 1, {"x": "1", "y": "null"}, {"p": "k"}),
    ]
    assert len({base, *others}) == 6


def test_canonical_is_sorted_and_refuses_nan() -> None:
    assert canonical({"b": 1, "a": [1.5, None]}) == '{"a":[1.5,null],"b":1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical(math.nan)


def test_where_a_data_set_lies_is_in_no_key() -> None:
    here, there = (
        dense_stage().model_copy(
            update={"dataset": Dataset(name="cifar10", root=root, source="parquet")}
        )
        for root in ("/here", "/there")
    )
    elsewhere = here.model_copy(
        update={"dataset": Dataset(name="cifar10", root="/here", source="torchvision")}
    )
    assert here.key == there.key != elsewhere.key


def test_written_and_left_out_defaults_are_one_key() -> None:
    text = DEMO.read_text()
    written = text.replace("seeds: 3", "seeds: [0, 1, 2]\nbudget: params")
    written = written.replace("dataset: digits", "dataset: {name: digits, validation: 1/10}")
    first, second = make_plan(parse_sweep(text)), make_plan(parse_sweep(written))
    assert list(first.jobs) == list(second.jobs)


def test_an_unused_threat_is_in_no_key() -> None:
    plans = [make_plan(parse_sweep(sweep_text(threat=f"{{eps: {eps}}}"))) for eps in (0.1, 0.2)]
    kinds = [{job.key for job in plan.jobs.values() if job.kind != "trial"} for plan in plans]
    assert kinds[0] == kinds[1]
    assert not set(plans[0].trials) & set(plans[1].trials)


def test_seeds_are_derived_from_key_and_purpose() -> None:
    assert derive_seed("k", "order", 1) == derive_seed("k", "order", 1)
    seeds = {derive_seed(k, p, e) for k in "ab" for p in ("order", "attack") for e in (1, 2)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)
