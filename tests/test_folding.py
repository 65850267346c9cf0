"""Twins: the same function as the network's, folded or not, after every change of its weights."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from prune_core.data import datasets
from prune_core.models.architectures import build
from prune_core.models.folding import Twin, foldable
from prune_core.pruning.prunable import masks
from prune_core.training import loop as training

from conftest import dense_stage

# Small networks of each family; wide ones are built of the same blocks.
FOLDED = {
    "resnet8": 9, "resnet20": 21, "vgg8": 7, "wrn-16-4": 7, "mobilenetv2": 52, "densenet121": 59,
    "mobilevit-xxs": 0, "vit-tiny": 0, "convnext-tiny": 0,
}  # fmt: skip


def shaken(architecture: str) -> nn.Module:
    """A network whose normalisations do something."""
    network = build(architecture, (3, 32, 32), 10, (0.5,) * 3, (0.25,) * 3, 0).eval()
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            for tensor in (module.bias.data, module.running_mean):
                tensor.copy_(0.2 * torch.randn(tensor.shape, generator=generator))
    return network


@pytest.mark.parametrize("architecture", FOLDED)
def test_a_twin_is_the_same_function(architecture: str) -> None:
    network = shaken(architecture)
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    assert len(foldable(network)) == FOLDED[architecture]
    twin = Twin(network)
    with torch.no_grad():
        expected = network(images)
        torch.testing.assert_close(twin(images), expected, rtol=1e-3, atol=1e-4)
    assert not any(p.requires_grad for p in twin.parameters())
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    left = sum(isinstance(m, nn.BatchNorm2d) for m in twin.modules())
    assert left == norms - FOLDED[architecture]


def test_a_twin_follows_its_network(trained: nn.Module, digits: datasets.Dataset) -> None:
    network = copy.deepcopy(trained)
    twin = Twin(network)
    stage = dense_stage(epochs=1, seed=3)
    training.fit(network, digits, stage.training, None, "other")
    images, _ = digits.test.batch(slice(0, 32))
    with torch.no_grad():
        assert not torch.allclose(twin(images), network(images), atol=1e-2)
        twin.refresh(network)
        torch.testing.assert_close(twin(images), network(images), rtol=1e-4, atol=1e-5)
    before = copy.deepcopy(network.state_dict())
    twin.refresh(network)
    assert all(torch.equal(before[n], t) for n, t in network.state_dict().items())


def test_a_masked_network_s_twin_has_its_zeros(trained: nn.Module) -> None:
    network = copy.deepcopy(trained)
    layer = network.network.stages[0][0].conv1
    masks.attach(layer, torch.rand(layer.weight.shape) > 0.5)
    masks.hold([layer])
    images = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(Twin(network)(images), network(images), rtol=1e-4, atol=1e-5)


class Branching(nn.Module):
    """Not traceable: its path depends on the images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = self.bn(self.conv(images))
        return (found if images.mean() > 0.5 else -found).mean((2, 3))


class Shared(nn.Module):
    """The convolution's output is read twice: its normalisation may not be folded into it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = self.conv(images)
        return (found + self.bn(found)).mean((2, 3))


class Twice(nn.Module):
    """The convolution is called twice, once without the normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.conv(self.bn(self.conv(images))).mean((2, 3))


@pytest.mark.parametrize("kind", [Branching, Shared, Twice])
def test_what_cannot_be_folded_is_a_plain_copy(kind: type[nn.Module]) -> None:
    network = kind().eval()
    network.bn.running_mean.fill_(0.5)
    assert foldable(network) == []
    images = torch.rand(4, 1, 6, 6)
    with torch.no_grad():
        torch.testing.assert_close(Twin(network)(images), network(images))


def test_a_twin_in_half_precision_takes_and_gives_float32(trained: nn.Module) -> None:
    twin = Twin(trained, torch.bfloat16)
    images = torch.rand(8, 1, 8, 8)
    with torch.no_grad():
        found, expected = twin(images), trained(images)
    assert found.dtype == torch.float32
    assert all(p.dtype == torch.bfloat16 for p in twin.parameters())
    torch.testing.assert_close(found, expected, atol=0.3, rtol=0.1)
