"""The layers that make the logits: found wherever a network registers them, and never pruned."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from prune_core.models import architectures
from prune_core.pruning.prunable.channels import Channels
from prune_core.pruning.prunable.outputs import output_layers

from rows import names

SHAPE = (3, 16, 16)


class Net(nn.Module):
    """A network whose classifier is registered first, in the middle or last, by ``order``."""

    def __init__(self, order: str, head: str):
        super().__init__()
        layers = {
            "a": nn.Conv2d(3, 16, 3, padding=1),
            "b": nn.Conv2d(16, 16, 3, padding=1),
            "n": nn.BatchNorm2d(16),
            "f": nn.Conv2d(16, 10, 1) if head == "convolution" else nn.Linear(16, 10),
            "g": nn.Linear(16, 10),
            "u": nn.Linear(16, 8),  # never used
        }
        for name in order:
            self.add_module(name, layers[name])
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        maps = torch.relu(self.b(torch.relu(self.n(self.a(images)))))
        if self.head == "convolution":
            return self.f(maps).mean((2, 3))
        features = maps.mean((2, 3))
        if self.head == "sum":
            return (self.f(features) + self.g(features)) / 2
        if self.head == "scaled":
            return (self.f(features) * 3).log_softmax(1)
        if self.head == "tokens":
            return self.f(maps.flatten(2).transpose(1, 2)).mean(1)
        return self.f(features)


@pytest.mark.parametrize("order", ["fabngu", "abnfug", "ufabng", "gabnfu"])
@pytest.mark.parametrize("head", ["plain", "sum", "scaled", "convolution", "tokens"])
def test_the_layer_that_makes_the_logits_is_found_and_kept(order: str, head: str) -> None:
    network = Net(order, head)
    expected = {network.f, network.g} if head == "sum" else {network.f}
    assert set(output_layers(network, SHAPE)) == expected
    view = Channels(network, SHAPE)
    assert {module.name for module in view.modules} == {"a", "b"}
    view.remove({"a": list(range(6)), "b": list(range(5))})
    assert network(torch.zeros(2, *SHAPE)).shape == (2, 10)
    assert network.f.in_features == 5 if isinstance(network.f, nn.Linear) else True


@pytest.mark.parametrize("name", names("architectures"))
def test_of_our_architectures_it_is_the_last(name: str) -> None:
    network = architectures.build(name, (3, 32, 32), 10, (0.5,) * 3, (0.2,) * 3, 0)
    last = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    assert output_layers(network, (3, 32, 32)) == [last]


def test_logits_of_no_layer_are_refused() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(16, 10))
            self.a = nn.Conv2d(3, 16, 3)

        def forward(self, images: Tensor) -> Tensor:
            return self.a(images).mean((2, 3)) @ self.weight

    class Maps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.rand(3))

        def forward(self, images: Tensor) -> Tensor:
            return images.mean((2, 3)) * self.scale

    for network in (Bare(), Maps()):
        with pytest.raises(ValueError, match="use granularity weight"):
            output_layers(network, SHAPE)
