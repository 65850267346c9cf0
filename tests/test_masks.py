"""Masks: what a pruning has masked, a later one leaves masked, whatever its scores."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from prune_core.pruning.masks import Weights, attach


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
