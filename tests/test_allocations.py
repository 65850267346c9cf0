"""Allocations: the budget met on the exact cost, floors held, more sensitive modules spared."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prune_core import datasets
from prune_core.allocations import Evidence, mrs, solve, uniform
from prune_core.modules import Anatomy
from prune_core.pruning import count_macs, count_params, prune
from prune_core.registry import ALLOCATIONS
from prune_core.specs import Calibration
from prune_core.stages import Pruned

from conftest import dense_stage
from rows import names

modules = st.lists(st.integers(4, 64), min_size=1, max_size=6)


@st.composite
def evidence(draw: st.DrawFn) -> Evidence:
    channels = {f"m{i}": n for i, n in enumerate(draw(modules))}
    scores = {
        name: draw(st.lists(st.floats(0, 10), min_size=n, max_size=n))
        for name, n in channels.items()
    }
    rises = st.one_of(st.floats(-1, 10), st.just(math.inf))
    sensitivities = {name: draw(rises) for name in channels}
    return Evidence(channels, scores, sensitivities)


@pytest.mark.parametrize("name", names("allocations"))
@given(found=evidence(), dials=st.tuples(st.floats(0, 1), st.floats(0, 1)))
@settings(max_examples=60, deadline=None)
def test_shares_rise_with_the_dial_and_are_whole_at_its_end(
    name: str, found: Evidence, dials: tuple[float, float]
) -> None:
    allocation = ALLOCATIONS.load(name)
    low, high = (allocation(found, dial) for dial in sorted(dials))
    for module in found.channels:
        assert 0 <= low[module] <= high[module] + 1e-12 <= 1 + 1e-9
    assert all(share == pytest.approx(1) for share in allocation(found, 1.0).values())


@given(found=evidence(), dial=st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_under_mrs_a_more_sensitive_module_never_keeps_less(found: Evidence, dial: float) -> None:
    shares = mrs(found, dial)
    for one, other in itertools.permutations(found.channels, 2):
        if found.sensitivities[one] > found.sensitivities[other]:
            assert shares[one] >= shares[other]


@given(
    channels=modules,
    removed=st.floats(0.05, 0.95),
    min_keep=st.floats(0, 0.5),
    weights=st.lists(st.integers(1, 50), min_size=6, max_size=6),
)
@settings(max_examples=100, deadline=None)
def test_the_budget_is_met_or_no_single_channel_brings_it_nearer(
    channels: list[int], removed: float, min_keep: float, weights: list[int]
) -> None:
    named = {f"m{i}": n for i, n in enumerate(channels)}

    def cost(kept: dict[str, int]) -> int:
        return sum(weights[i] * kept[name] ** 2 for i, name in enumerate(named))

    found = solve(named, lambda dial: uniform(Evidence(named), dial), cost, removed, min_keep)
    floor = {name: max(1, math.ceil(min_keep * n)) for name, n in named.items()}
    assert all(floor[name] <= found.kept[name] <= n for name, n in named.items())
    assert found.removed == pytest.approx(1 - cost(found.kept) / cost(named))
    assert (found.shortfall is None) == (abs(found.removed - removed) <= 0.01)
    if found.shortfall is None:
        return
    budget = (1 - removed) * cost(named)
    for name, step in itertools.product(named, (1, -1)):
        moved = {**found.kept, name: found.kept[name] + step}
        if floor[name] <= moved[name] <= named[name]:
            assert abs(cost(moved) - budget) >= abs(cost(found.kept) - budget)


@given(sizes=st.lists(st.integers(64, 256), min_size=3, max_size=6), removed=st.floats(0.2, 0.8))
@settings(max_examples=50, deadline=None)
def test_uniform_stays_uniform(sizes: list[int], removed: float) -> None:
    """Meeting the budget moves a module by one channel from the common share, and no more."""
    named = {f"m{i}": n for i, n in enumerate(sizes)}
    found = solve(
        named,
        lambda dial: uniform(Evidence(named), dial),
        lambda kept: sum(n**2 for n in kept.values()),
        removed,
        min_keep=0.0,
    )
    assert found.shortfall is None
    shares = [found.kept[name] / n for name, n in named.items()]
    for (name, n), share in zip(named.items(), shares, strict=True):
        others = [s for other, s in zip(named, shares, strict=True) if other != name]
        assert min(others) - 3 / min(sizes) <= share <= max(others) + 3 / min(sizes), (n, shares)


def test_channels_too_coarse_for_the_budget_are_said_to_be() -> None:
    found = solve({"m": 4}, lambda dial: {"m": dial}, lambda kept: kept["m"], 0.4, min_keep=0.0)
    assert found.kept == {"m": 2}
    assert found.shortfall == (
        "asked to remove 40.0%, removed 50.0%: no single channel brings it nearer"
    )


def test_an_unreachable_budget_says_why() -> None:
    found = solve({"m": 10}, lambda dial: {"m": dial}, lambda kept: kept["m"], 0.9, min_keep=0.5)
    assert found.kept == {"m": 5}
    assert found.shortfall == (
        "asked to remove 90.0%, removed 50.0%: "
        "every module keeps at least 50% of its channels, and one"
    )


SENSITIVITIES = (0.1, 0.5, 0.3, 0.9, 2.0, 0.2)


@pytest.mark.parametrize("criterion", names("criteria"))
@pytest.mark.parametrize("allocation", names("allocations"))
@pytest.mark.parametrize(("budget", "sparsity"), [("params", 0.5), ("macs", 0.8)])
def test_the_budget_is_met_on_the_real_network(
    criterion: str,
    allocation: str,
    budget: str,
    sparsity: float,
    trained: nn.Module,
    digits: datasets.Dataset,
) -> None:
    network = copy.deepcopy(trained)
    channels = Anatomy(network, digits.shape).channels
    before = (count_params(network), count_macs(network, digits.shape))
    stage = Pruned(
        dense=dense_stage(),
        criterion=criterion,
        calibration=Calibration(samples=128),
        allocation=allocation,
        sparsity=sparsity,
        budget=budget,
        min_keep=0.1,
        mrs_exponent=0.5,
    )
    sensitivities = dict(zip(channels, SENSITIVITIES, strict=True))
    structure, report = prune(network, digits, stage, sensitivities)
    after = (count_params(network), count_macs(network, digits.shape))
    achieved = 1 - after[budget == "macs"] / before[budget == "macs"]
    assert achieved == pytest.approx(sparsity, abs=0.01)
    assert report.shortfall is None
    assert (report.params, report.macs) == after
    assert (report.params_removed, report.macs_removed)[budget == "macs"] == achieved
    for module in report.modules:
        kept = structure[module.module]
        assert len(kept) == len(set(kept)) == module.width_after >= 0.1 * module.width_before
        assert set(kept) <= set(range(module.width_before))
    assert network(digits.test.batch(slice(0, 2))[0]).shape == (2, 10)


def test_the_lowest_scores_go(trained: nn.Module, digits: datasets.Dataset) -> None:
    network = copy.deepcopy(trained)
    stage = Pruned(
        dense=dense_stage(),
        criterion="l1",
        calibration=None,
        allocation="uniform",
        sparsity=0.5,
        min_keep=0.1,
        mrs_exponent=None,
    )
    module = next(m for m in Anatomy(network, digits.shape).modules if len(m.makers()) == 1)
    (maker,) = module.makers()
    (reader,) = (m.layer for m in module.members if m.side == "in")
    own = network.get_submodule(maker).weight.detach().abs().flatten(1).sum(1)
    read = network.get_submodule(reader).weight.detach().abs().transpose(0, 1).flatten(1).sum(1)
    structure, _ = prune(network, digits, stage, None)
    kept = structure[module.name]
    gone = sorted(set(range(module.channels)) - set(kept))
    assert (own + read)[kept].min() >= (own + read)[gone].max()
