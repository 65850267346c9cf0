"""Epochs: every one sees all images once, in an order of its own, the same for equal stages."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from prune_core.data.datasets import Dataset
from prune_core.specs.recipes import Training
from prune_core.training import loop as training


class Recorder(nn.Module):
    """A linear network that notes which images it is trained on, by their sums."""

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.linear = nn.Linear(features, classes)
        self.seen: list[float] = []

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.seen += images.detach().double().sum((1, 2, 3)).tolist()
        logits: Tensor = self.linear(images.flatten(1))
        return logits


def orders(data: Dataset, key: str) -> list[list[float]]:
    recipe = Training(objective="standard", epochs=3, lr=0.01).resolved()
    torch.manual_seed(0)
    network = Recorder(data.train.images[0].numel(), data.classes)
    training.fit(network, data, recipe, None, key)
    count = len(data.train)
    assert len(network.seen) == 3 * count
    return [network.seen[start : start + count] for start in range(0, 3 * count, count)]


def test_every_epoch_has_an_order_of_its_own(digits: Dataset) -> None:
    first, second, third = orders(digits, "a")
    assert sorted(first) == sorted(second) == sorted(third)
    assert first != second != third != first
    assert orders(digits, "a") == [first, second, third]
    assert orders(digits, "b")[0] != first


def test_a_last_batch_of_one_image_joins_the_one_before(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BatchNorm cannot normalise a single value; networks end with such layers."""
    sizes: list[int] = []
    forward = Recorder.forward

    def counted(self: Recorder, images: Tensor) -> Tensor:
        if self.training:
            sizes.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(Recorder, "forward", counted)
    data = replace(digits, train=digits.train.take(torch.arange(11)))
    network = Recorder(data.train.images[0].numel(), data.classes)
    recipe = Training(objective="standard", epochs=1, lr=0.01)
    for size, right in ((5, [5, 6]), (10, [11]), (4, [4, 4, 3]), (11, [11]), (1, [1] * 11)):
        sizes.clear()
        sized = recipe.model_copy(update={"batch_size": size}).resolved()
        training.fit(network, data, sized, None, "a")
        assert sizes == right
