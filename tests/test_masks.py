"""Masks: what a pruning has masked, a later one leaves masked, whatever its scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from prune_core.pruning.prunable.masks import Weights, attach
from prune_core.pruning.prune import DRAWN, digest, kept_bitmaps


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


def test_a_bitmap_tells_of_all_channels_and_of_a_fixed_draw_of_weights() -> None:
    def bits(network: nn.Module, structure: dict[str, list[int]], units: int) -> np.ndarray:
        found = kept_bitmaps(network, structure, {"0": units})["0"]
        return np.unpackbits(np.frombuffer(found, dtype=np.uint8))

    network = nn.Sequential(nn.Linear(40, 50))
    assert bits(network, {"0": [0, 3, 8]}, 9).nonzero()[0].tolist() == [0, 3, 8]
    ones, twos = (torch.rand(50, 40) < share for share in (0.5, 0.5))
    found = []
    for mask in (ones, twos, ~ones):
        attach(network[0], mask)
        found.append(bits(network, {"0": []}, 2000))
        assert len(found[-1]) == DRAWN
        assert found[-1].mean() == pytest.approx(float(mask.float().mean()), abs=0.05)
    assert (found[0] == 1 - found[2]).all()  # the same weights each time
    both = float((ones & twos).sum() / (ones | twos).sum())
    assert (found[0] & found[1]).sum() / (found[0] | found[1]).sum() == pytest.approx(
        both, abs=0.06
    )
    small = nn.Sequential(nn.Linear(3, 3))
    attach(small[0], torch.eye(3, dtype=torch.bool))
    assert bits(small, {"0": []}, 9).tolist()[:9] == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    # Of masks with a pattern a regular draw would see one place alone.
    attach(network[0], (torch.arange(2000) % 4 < 2).view(50, 40))
    assert bits(network, {"0": []}, 2000).mean() == pytest.approx(0.5, abs=0.05)
