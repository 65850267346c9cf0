"""Allocations: the budget met on the exact cost, floors held, more sensitive modules spared."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prune_core.data.datasets import Dataset
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.ratios.allocations import (
    _propensity,
    erk,
    fixed,
    uniform,
)
from prune_core.pruning.ratios.curves import Curve
from prune_core.pruning.ratios.evidence import Evidence
from prune_core.pruning.ratios.solver import Limits, solve
from prune_core.specs.registry import ALLOCATIONS

from rows import names

modules = st.lists(st.integers(4, 64), min_size=1, max_size=6)


@st.composite
def evidence(draw: st.DrawFn) -> Evidence:
    units = {f"m{i}": n for i, n in enumerate(draw(modules))}
    scores = {
        name: np.array(draw(st.lists(st.floats(0, 10), min_size=n, max_size=n)))
        for name, n in units.items()
    }
    rises = st.one_of(st.floats(-1, 10), st.just(math.inf))
    return Evidence(
        units=units,
        shapes={name: (n, draw(st.integers(1, 64)), 3, 3) for name, n in units.items()},
        scores=scores,
        sensitivities={name: draw(rises) for name in units},
        curves={
            name: Curve.of((0.25, 0.5, 0.75), draw(st.lists(rises, min_size=3, max_size=3)), 100)
            for name in units
        },
        prices={name: float(draw(st.integers(1, 10_000))) for name in units},
        ratios={name: draw(st.floats(0.01, 1)) for name in units},
        seed=draw(st.integers(0, 5)),
    )


@pytest.mark.parametrize("name", names("allocations"))
@given(found=evidence(), dials=st.tuples(st.floats(0, 1), st.floats(0, 1)))
@settings(max_examples=60, deadline=None)
def test_shares_rise_with_the_dial_and_are_whole_at_its_end(
    name: str, found: Evidence, dials: tuple[float, float]
) -> None:
    allocation = ALLOCATIONS.load(name)
    low, high = (allocation(found, dial) for dial in sorted(dials))
    for module in found.units:
        assert 0 <= low[module] <= high[module] + 1e-12 <= 1 + 1e-9
    assert all(share == pytest.approx(1) for share in allocation(found, 1.0).values())


@pytest.mark.parametrize(
    ("name", "sign"),
    [
        ("mrs-perturbation", 1),
        ("mrs-perturbation-few-step", 1),
        ("scan", 1),
        ("mrs-perturbation-first-order", 1),
        ("mrs-minmax", 1),
        ("mrs-bounded", 1),
        ("mrs-perturbation-inverse", -1),
    ],
)
@given(found=evidence(), dial=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_a_more_sensitive_module_never_keeps_less(
    name: str, sign: int, found: Evidence, dial: float
) -> None:
    shares = ALLOCATIONS.load(name)(found, dial)
    for one, other in itertools.permutations(found.units, 2):
        if found.sensitivities[one] > found.sensitivities[other]:
            assert sign * shares[one] >= sign * shares[other]


@given(found=evidence(), dial=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_per_cost_a_more_sensitive_module_of_the_same_cost_never_keeps_less(
    found: Evidence, dial: float
) -> None:
    alike = replace(found, prices=dict.fromkeys(found.units, 7.0))
    shares = ALLOCATIONS.load("mrs-perturbation-per-cost")(alike, dial)
    for one, other in itertools.permutations(found.units, 2):
        if found.sensitivities[one] > found.sensitivities[other]:
            assert shares[one] >= shares[other]


def test_per_cost_hurts_least_for_its_budget() -> None:
    """Against a search over a grid: no other removal of the same cost has a smaller sum."""
    evidence = Evidence({"a": 9, "b": 9}, sensitivities={"a": 2.0, "b": 1.0},
                        prices={"a": 30.0, "b": 10.0})  # fmt: skip
    shares = ALLOCATIONS.load("mrs-perturbation-per-cost")(evidence, 0.8)
    lost = {name: 1 - share for name, share in shares.items()}
    budget = 30 * lost["a"] + 10 * lost["b"]
    others = [(p, (budget - 30 * p) / 10) for p in np.linspace(0, 1, 2001)]
    best = min(2 * a**2 + b**2 for a, b in others if 0 <= b <= 1)
    assert 2 * lost["a"] ** 2 + lost["b"] ** 2 == pytest.approx(best, rel=1e-4)


def damaged(*halves: float, units: int = 16, seed: int = 0) -> Evidence:
    """Modules of equal size and cost, of different damage."""
    curves = {f"m{i}": Curve.of((0.5,), (half,)) for i, half in enumerate(halves)}
    return Evidence(dict.fromkeys(curves, units), curves=curves, seed=seed)


@pytest.mark.parametrize(("name", "sign"), [("mrs-curve", 1), ("mrs-inverse", -1), ("size", 0)])
@pytest.mark.parametrize("dial", [0.25, 0.5, 0.8])
def test_modules_of_equal_cost_keep_more_the_more_they_suffer(
    name: str, sign: int, dial: float
) -> None:
    kept = list(ALLOCATIONS.load(name)(damaged(0.5, 1.0, 2.0, 4.0), dial).values())
    if sign:
        assert kept == sorted(kept, reverse=sign < 0)
        assert abs(kept[-1] - kept[0]) > 0.4
    else:
        assert max(kept) - min(kept) <= 1 / 16


def test_uniform_plus_spares_the_first_layer_and_a_fifth_of_the_classifier(
    trained: nn.Module, digits: Dataset
) -> None:
    outputs = prunable_view(trained, digits.shape, "weight").outputs
    assert outputs == {"network.classifier"}
    assert not prunable_view(trained, digits.shape, "channel").outputs
    found = Evidence({"stem": 9, "middle": 9, "network.classifier": 9}, outputs=outputs)
    shares = ALLOCATIONS.load("uniform-plus")(found, 0.05)
    assert shares == {"stem": 1.0, "middle": 0.05, "network.classifier": 0.2}


def test_mrs_is_the_curve() -> None:
    found = damaged(0.5, 1.0, 2.0)
    assert ALLOCATIONS.load("mrs")(found, 0.3) == ALLOCATIONS.load("mrs-curve")(found, 0.3)


def test_shuffling_deals_out_the_same_curves_by_the_seed() -> None:
    shuffled = ALLOCATIONS.load("mrs-shuffled")
    orders = [
        tuple(shuffled(damaged(0.5, 1.0, 2.0, 4.0, seed=seed), 0.5).values()) for seed in range(6)
    ]
    assert len(set(orders)) > 1
    plain = ALLOCATIONS.load("mrs-curve")(damaged(0.5, 1.0, 2.0, 4.0), 0.5)
    assert all(
        sorted(order) == pytest.approx(sorted(plain.values()), abs=1 / 16) for order in orders
    )


@pytest.mark.parametrize("name", ["global", "global-normalised"])
@given(found=evidence(), dial=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_global_keeps_what_a_plain_sort_keeps(name: str, found: Evidence, dial: float) -> None:
    """Raw scores, or those over the mean of their module."""
    sizes = {
        module: float(np.mean(scores)) if name == "global-normalised" else 1.0
        for module, scores in found.scores.items()
    }
    everything = sorted(
        ((-score / (sizes[module] or 1.0), place, module) for place, (module, score) in enumerate(
            (module, score) for module, scores in found.scores.items() for score in scores)),
    )  # fmt: skip
    kept = [module for _, _, module in everything[: round(dial * len(everything))]]
    shares = ALLOCATIONS.load(name)(found, dial)
    for module, scores in found.scores.items():
        assert round(shares[module] * len(scores)) == kept.count(module)


def test_what_may_not_be_kept_is_last_and_in_no_mean() -> None:
    scores = {"a": np.array([-math.inf, 1.0, 3.0]), "b": np.array([10.0, 30.0, -math.inf])}
    found = Evidence({"a": 3, "b": 3}, scores=scores)
    third = {"global": {"a": 0, "b": 2 / 3}, "global-normalised": {"a": 1 / 3, "b": 1 / 3}}
    for name, shares in third.items():
        assert ALLOCATIONS.load(name)(found, 1 / 3) == pytest.approx(shares)


def test_erk_by_its_formula() -> None:
    found = erk(Evidence({"a": 8, "b": 8}, {"a": (8, 4, 3, 3), "b": (16, 8, 1, 1)}), 0.1)
    ratio = (8 + 4 + 3 + 3) / (8 * 4 * 9) / ((16 + 8 + 1 + 1) / 128)
    assert found["a"] / found["b"] == pytest.approx(ratio)


def test_fixed_shares_are_kept_where_they_meet_the_budget_and_checked() -> None:
    units = {"a": 10, "b": 10}
    evidence = Evidence(units, ratios={"a": 0.2, "b": 0.8})
    found = solve(
        {name: Limits.of(n, 0.1) for name, n in units.items()},
        lambda dial: fixed(evidence, dial),
        lambda kept: kept.sum(-1),
        removed=0.5,
    )
    assert found.kept == {"a": 2, "b": 8}
    with pytest.raises(ValueError, match="missing: b; given: a, c"):
        fixed(replace(evidence, ratios={"a": 1.0, "c": 1.0}), 0.5)


@given(
    channels=modules,
    removed=st.floats(0.05, 0.95),
    min_keep=st.floats(0, 0.5),
    weights=st.lists(st.integers(1, 50), min_size=6, max_size=6),
    cap=st.sampled_from([1.0, 1.0, 0.5]),
    exactly=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_the_budget_is_met_or_no_single_unit_brings_it_nearer(
    channels: list[int],
    removed: float,
    min_keep: float,
    weights: list[int],
    cap: float,
    exactly: bool,
) -> None:
    named = {f"m{i}": n for i, n in enumerate(channels)}

    def cost(kept: dict[str, int]) -> int:
        return sum(weights[i] * kept[name] ** 2 for i, name in enumerate(named))

    def costs(kept: np.ndarray) -> np.ndarray:
        return (np.array(weights[: len(named)]) * kept**2).sum(-1)

    caps = {name: max(1, round(cap * n)) for name, n in named.items()}
    found = solve(
        {name: Limits.of(n, min_keep, caps[name]) for name, n in named.items()},
        lambda dial: uniform(Evidence(named), dial),
        costs,
        removed,
        exactly=exactly,
    )
    floor = {name: min(caps[name], max(1, math.ceil(min_keep * n))) for name, n in named.items()}
    assert all(floor[name] <= found.kept[name] <= caps[name] for name in named)
    assert found.removed == pytest.approx(1 - cost(found.kept) / cost(named))
    assert (found.shortfall is None) == (abs(found.removed - removed) <= 0.01)
    if found.shortfall is None and not exactly:
        return
    budget = (1 - removed) * cost(named)
    for name, step in itertools.product(named, (1, -1)):
        moved = {**found.kept, name: found.kept[name] + step}
        if floor[name] <= moved[name] <= caps[name]:
            assert abs(cost(moved) - budget) >= abs(cost(found.kept) - budget)


@given(sizes=st.lists(st.integers(64, 256), min_size=3, max_size=6), removed=st.floats(0.2, 0.8))
@settings(max_examples=50, deadline=None)
def test_uniform_stays_uniform(sizes: list[int], removed: float) -> None:
    """Meeting the budget moves a module by one channel from the common share, and no more."""
    named = {f"m{i}": n for i, n in enumerate(sizes)}
    found = solve(
        {name: Limits.of(n, 0.0) for name, n in named.items()},
        lambda dial: uniform(Evidence(named), dial),
        lambda kept: (kept**2).sum(-1),
        removed,
    )
    assert found.shortfall is None
    shares = [found.kept[name] / n for name, n in named.items()]
    for (name, n), share in zip(named.items(), shares, strict=True):
        others = [s for other, s in zip(named, shares, strict=True) if other != name]
        assert min(others) - 3 / min(sizes) <= share <= max(others) + 3 / min(sizes), (n, shares)


def test_units_too_coarse_for_the_budget_are_said_to_be() -> None:
    found = solve({"m": Limits(4, 1, 4)}, lambda d: {"m": d}, lambda kept: kept.sum(-1), 0.4)
    assert found.kept == {"m": 2}
    assert (
        found.shortfall == "asked to remove 40.0%, removed 50.0%: no single unit brings it nearer"
    )


def test_an_unreachable_budget_says_why() -> None:
    found = solve({"m": Limits.of(10, 0.5)}, lambda d: {"m": d}, lambda kept: kept.sum(-1), 0.9)
    assert found.kept == {"m": 5}
    assert found.shortfall == (
        "asked to remove 90.0%, removed 50.0%: "
        "every module is at its minimum width (pruning.min_keep, and one unit at least)"
    )
    capped = solve({"m": Limits(10, 1, 5)}, lambda d: {"m": d}, lambda kept: kept.sum(-1), 0.2)
    assert capped.shortfall == (
        "asked to remove 20.0%, removed 50.0%: every module keeps as much as it may"
    )


def test_sensitivities_next_to_nothing_still_tell_modules_apart() -> None:
    """Powers of the smallest numbers vanish: once that divided by zero."""
    tiny = _propensity({"m0": math.inf, "m1": 0.0, "m2": 5e-324}, 2.0)
    usual = _propensity({"m0": math.inf, "m1": 0.0, "m2": 1.0}, 2.0)
    assert tiny == usual
    assert all(share > 0 for share in tiny.values())
