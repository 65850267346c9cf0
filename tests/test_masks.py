"""Masks: what a pruning has masked, a later one leaves masked, whatever its scores."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from prune_core.pruning.prunable.masks import Weights, attach
from prune_core.pruning.prune import digest


@pytest.mark.parametrize("pattern", [None, (2, 4)])
def test_a_second_pruning_takes_no_masked_weight(pattern: tuple[int, int] | None) -> None:
    """Scores may all be negative: of what is masked, zero would be the best."""
    network = nn.Sequential(nn.Conv2d(4, 2, 1, bias=False))
    allowed = torch.tensor([1, 0, 1, 0, 0, 1, 1, 0], dtype=torch.bool).view(2, 4, 1, 1)
    attach(network[0], allowed)
    weights = Weights(network, (4, 1, 1), pattern)
    scores = -torch.arange(1.0, 9.0)
    assert weights.select(weights.modules[0], scores, 3) == [0, 2, 5]
    assert weights.select(weights.modules[0], scores.flip(0), 3) == [2, 5, 6]
    assert weights.modules[0].cap == 4
    weights.remove({"0": [0, 5]})
    assert network[0].mask.flatten().nonzero().flatten().tolist() == [0, 5]


def test_a_digest_tells_which_units_are_left_and_nothing_else() -> None:
    def masked(*kept: int) -> nn.Module:
        network = nn.Sequential(nn.Conv2d(1, 9, 1), nn.Linear(9, 1))
        attach(network[0], torch.isin(torch.arange(9), torch.tensor(kept)).view(9, 1, 1, 1))
        return network

    assert digest(masked(1, 8), {}) == digest(masked(1, 8), {})
    assert digest(masked(1, 8), {}) != digest(masked(1, 7), {})
    network = nn.Sequential(nn.Conv2d(1, 2, 1))
    assert digest(network, {"0": [0, 1]}) != digest(network, {"0": [0, 2]})
