"""Widths that hardware likes, and layers that are left whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import parse_sweep
from prune_core.data import datasets
from prune_core.errors import UnprunableError
from prune_core.models import architectures
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.prune import prune
from prune_core.pruning.ratios.solver import Limits, solve
from prune_core.specs.stages import Pruned, Scores

from command import mrsweep
from conftest import blank, dense_stage, pruned_stage, scored, sweep_text


def widths(data: datasets.Dataset, architecture: str, **changes: object) -> dict[str, int]:
    network = blank(data, architecture)
    stage = pruned_stage(**changes)
    scores = scored(network, data, Scores(network=dense_stage(), criterion="l1", unit="channel"))
    _, report = prune(network, data.shape, stage, scores)
    assert report.shortfall is None
    return {m.module.removeprefix("network."): m.width_after for m in report.modules}


@pytest.mark.parametrize("allocation", ["uniform", "global"])
def test_modules_keep_multiples_and_the_budget_is_met(
    digits: datasets.Dataset, allocation: str
) -> None:
    kept = widths(digits, "vgg8", round_to=8, allocation=allocation, sparsity=0.6)
    assert all(width % 8 == 0 for width in kept.values()), kept
    assert len(set(kept.values())) > 1


def test_layers_are_left_whole_by_name_and_by_part(digits: datasets.Dataset) -> None:
    whole = {"features.0": 16, "features.3": 16}
    kept = widths(digits, "vgg8", leave=("features.0", "network.features.3"))
    assert {name: kept[name] for name in whole} == whole
    assert kept["features.14"] < 64
    kept = widths(digits, "resnet8", leave=("stages.2",), sparsity=0.2)
    parts = {name: width for name, width in kept.items() if name.startswith("stages.2")}
    assert set(parts.values()) == {64}
    with pytest.raises(UnprunableError, match="is called head, or is in it; such layers are feat"):
        widths(digits, "vgg8", leave=("features.0", "head"))


def test_masks_leave_a_layer_whole_too(digits: datasets.Dataset) -> None:
    network = blank(digits)
    scores = scored(network, digits, Scores(network=dense_stage(), criterion="l1", unit="weight"))
    stage = pruned_stage(granularity="weight", leave=("classifier",), min_keep=0.0)
    _, report = prune(network, digits.shape, stage, scores)
    shares = {m.module.removeprefix("network."): m.width_after / m.width_before
              for m in report.modules}  # fmt: skip
    assert shares["classifier"] == 1.0
    assert shares["stages.2.0.conv1"] < 1


def test_heads_are_as_many_channels_as_they_have() -> None:
    """A head of 64 channels is a multiple of 8 by itself."""
    network = architectures.build("vit-tiny", (3, 16, 16), 10, (0.5,) * 3, (0.25,) * 3, 0)
    view = prunable_view(network, (3, 16, 16), "channel")
    from prune_core.pruning.ratios.budget import _step

    steps = {_step(module, 8) for module in view.modules if module.name.endswith("qkv")}
    assert steps == {1}


@given(
    st.lists(st.tuples(st.integers(1, 70), st.integers(1, 16)), min_size=1, max_size=5),
    st.floats(0.05, 0.95),
)
def test_only_multiples_and_whole_modules_are_kept(
    modules: list[tuple[int, int]], removed: float
) -> None:
    limits = {}
    for index, (units, step) in enumerate(modules):
        floor = min(units, -(-max(1, units // 10) // step) * step)
        limits[str(index)] = Limits(units, floor, units, step)
    found = solve(limits, lambda d: dict.fromkeys(limits, d), lambda k: (k * k).sum(-1), removed)
    for name, limit in limits.items():
        kept = found.kept[name]
        assert limit.floor <= kept <= limit.cap
        assert kept % limit.step == 0 or kept == limit.units


def test_a_step_of_one_is_what_it_was() -> None:
    """The nearest neighbours of a count are one unit away."""
    limits = {name: Limits(10, 1, 10) for name in "ab"}
    found = solve(limits, lambda d: {"a": d, "b": 1.0}, lambda k: k @ np.array([1, 1]), 0.35)
    assert found.kept == {"a": 3, "b": 10}


# In a sweep.


def pruned_of(pruning: str, **changes: str) -> list[Pruned]:
    plan = make_plan(parse_sweep(sweep_text(pruning=pruning, **changes)))
    return [job.stage for job in plan.jobs.values() if isinstance(job.stage, Pruned)]


def test_they_are_in_keys_only_where_they_are_asked_for() -> None:
    before = {stage.key for stage in pruned_of("{}")}
    assert {stage.key for stage in pruned_of("{round_to: 1, leave: []}")} == before
    assert not {stage.key for stage in pruned_of("{round_to: 8}")} & before
    assert not {stage.key for stage in pruned_of("{leave: [conv]}")} & before
    by_weight = {stage.key for stage in pruned_of("{}", granularities="[weight]")}
    assert {s.key for s in pruned_of("{round_to: 8}", granularities="[weight]")} == by_weight
    named = pruned_of("{leave: {resnet8: [conv]}}", architectures="[resnet8, vgg8]")
    assert {stage.leave for stage in named} == {("conv",), None}


def test_an_unknown_layer_is_refused_before_anything_runs(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(sweep_text(pruning="{leave: [conv1]}"))
    refused = mrsweep("run", file, "--storage", tmp_path / "root", "--dry-run")
    assert refused.returncode == 2
    assert "pruning.leave: no layer that could be pruned is called conv1" in refused.stderr
