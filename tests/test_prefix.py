"""The prefix: what lies before a layer runs once, and the pass from there is the whole pass."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from prune_core.data import datasets
from prune_core.models.architectures import build
from prune_core.pruning.prunable.masks import maskable
from prune_core.pruning.ratios.prefix import Prefix


@pytest.mark.parametrize("layer", ["network.conv", "network.stages.1.0.downsample.0",
                                   "network.stages.2.0.conv2", "network.classifier"])  # fmt: skip
def test_a_pass_that_starts_at_a_layer_is_the_whole_pass(
    layer: str, trained: nn.Module, digits: datasets.Dataset
) -> None:
    """Bit for bit, for every batch, whatever the layer's weights; also its gradient."""
    batches = [digits.train.batch(slice(i, i + 50))[0] for i in (0, 50)]
    network = copy.deepcopy(trained)
    weight = network.get_parameter(f"{layer}.weight")
    runs: list[int] = []
    counted = network.get_submodule("network.bn")
    with Prefix(network, layer, batches) as prefix:
        for scale in (1.0, 1.1, 0.9):
            with torch.no_grad():
                weight.mul_(scale)
            whole = copy.deepcopy(trained)
            whole.load_state_dict(network.state_dict())
            for index, images in enumerate(batches):
                hook = counted.register_forward_hook(lambda *_: runs.append(1))
                found, expected = prefix.logits(index), whole(images)
                hook.remove()
                assert torch.equal(found, expected)
                same = whole.get_parameter(f"{layer}.weight")
                (one,) = torch.autograd.grad(found.square().sum(), weight)
                (other,) = torch.autograd.grad(expected.square().sum(), same)
                assert torch.equal(one, other)
    assert not any("forward" in m.__dict__ for m in network.modules())


def test_a_prefix_runs_once() -> None:
    """What lies before the layer is called for the first pass over a batch alone."""
    calls: list[int] = []

    class Counted(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(1)
            return super().forward(x)

    network = nn.Sequential(Counted(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 2), nn.Linear(2, 2))
    images = torch.rand(3, 4)
    with Prefix(network, "2", [images]) as prefix:
        first = prefix.logits(0).clone()
        for _ in range(3):
            assert torch.equal(prefix.logits(0), first)
    assert len(calls) == 1


def test_a_layer_that_runs_twice_has_no_prefix() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.again = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.again(self.first(self.again(x)))

    network = Twice()
    images = torch.rand(3, 4)
    with Prefix(network, "again", [images]) as prefix:
        for scale in (1.0, 2.0):
            with torch.no_grad():
                network.again.weight.mul_(scale)
            plain = Twice()
            plain.load_state_dict(network.state_dict())
            assert torch.equal(prefix.logits(0), plain(images))


class Asked(nn.Module):
    """A layer that is told something by name, as timm's attention is of its mask."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, *, scale: float | None = None) -> torch.Tensor:
        return self.inner(x) * (1 if scale is None else scale)


def test_layers_may_be_given_something_by_name() -> None:
    class Asking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.then, self.last = Asked(), Asked(), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.then(self.first(x, scale=2.0), scale=3.0))

    network, images = Asking(), torch.rand(3, 4)
    for layer in ("last", "then.inner", "first.inner"):
        with Prefix(network, layer, [images]) as prefix:
            for _ in range(2):
                assert torch.equal(prefix.logits(0), network.__class__.forward(network, images))


@pytest.mark.parametrize("architecture", ["vit-tiny", "mobilevit-xxs"])
def test_passes_of_networks_with_attention(architecture: str) -> None:
    network = build(architecture, (3, 32, 32), 10, (0.5,) * 3, (0.5,) * 3, 0).eval()
    images = torch.rand(2, 3, 32, 32)
    layers = [name for name in maskable(network) if name.endswith(("qkv", "proj", "fc2"))]
    with torch.no_grad():
        expected = network(images)
        for layer in (layers[0], layers[-1]):
            with Prefix(network, layer, [images]) as prefix:
                assert all(torch.equal(prefix.logits(0), expected) for _ in range(2))
