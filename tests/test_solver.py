"""The solver: what it may keep at the least, and how near it comes to a budget."""

from __future__ import annotations

import numpy as np
import pytest

from prune_core.pruning.prunable.costs import Counts
from prune_core.pruning.ratios.solver import CLOSE, TOLERANCE, Limits, solve


@pytest.mark.parametrize(
    ("units", "min_keep", "cap", "floor"),
    [(8, 0.0, None, 1), (1, 0.0, None, 1), (8, 0.3, None, 3), (8, 1.0, None, 8), (8, 0.9, 4, 4),
     (8, 0.0, 0, 0)],
)  # fmt: skip
def test_a_module_keeps_its_share_and_one_unit_at_least_but_no_more_than_it_may(
    units: int, min_keep: float, cap: int | None, floor: int
) -> None:
    assert Limits.of(units, min_keep, cap).floor == floor


def test_no_module_loses_its_last_unit() -> None:
    """However large the budget, and though the allocation would leave nothing of it."""
    limits = {"spared": Limits.of(10, 0.0), "emptied": Limits.of(10, 0.0)}
    solution = solve(
        limits, lambda dial: {"spared": 1.0, "emptied": dial}, lambda kept: kept.sum(-1), 0.5
    )
    assert solution.kept == {"spared": 9, "emptied": 1}
    assert solve(
        limits, lambda dial: dict.fromkeys(limits, dial), lambda kept: kept.sum(-1), 1.0
    ).kept == {"spared": 1, "emptied": 1}


def test_single_units_bring_a_budget_within_tolerance_as_near_as_is_close() -> None:
    """The dial moves both modules at once, by one hundredth of the cost; single units do better."""
    limits = {"dear": Limits.of(100, 0.0), "cheap": Limits.of(100, 0.0)}

    def cost(kept: Counts) -> Counts:
        price: Counts = kept @ np.array([3, 1])
        return price

    dialled, budget = cost(np.array([50, 50])), 203
    assert CLOSE * 400 < budget - dialled <= TOLERANCE * 400  # met, but not closely
    solution = solve(limits, lambda dial: dict.fromkeys(limits, dial), cost, 1 - budget / 400)
    assert solution.kept == {"dear": 51, "cheap": 50}
    assert solution.removed == pytest.approx(1 - budget / 400)
    assert solution.shortfall is None
