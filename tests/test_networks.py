"""Architectures and their prunable modules: counts, couplings, exact costs."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from prune_core import architectures, datasets
from prune_core.modules import Anatomy
from prune_core.pruning import count_macs, count_params

from conftest import blank
from rows import ROWS, names


def build(name: str, seed: int = 0) -> tuple[nn.Module, tuple[int, int, int]]:
    side = ROWS["architectures"][name]["image"]
    shape = (1, side, side)
    return architectures.build(name, shape, 10, (0.5,), (0.25,), seed).eval(), shape


@pytest.mark.parametrize("name", names("architectures"))
def test_logits_parameters_and_seed(name: str) -> None:
    network, shape = build(name)
    images = torch.rand(2, *shape)
    assert network(images).shape == (2, 10)
    assert count_params(network) == ROWS["architectures"][name]["params"]
    state = torch.random.get_rng_state()
    assert torch.equal(build(name)[0](images), network(images))
    assert not torch.equal(build(name, seed=1)[0](images), network(images))
    assert torch.equal(torch.random.get_rng_state(), state)


def macs_by_hooks(network: nn.Module, shape: tuple[int, int, int]) -> int:
    """An independent count: output positions times weights, layer by layer."""
    total = 0

    def count(layer: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        nonlocal total
        total += output[0].numel() * layer.weight[0].numel()

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    network(torch.zeros(1, *shape))
    return total


@pytest.mark.parametrize("name", names("architectures"))
def test_the_cost_model_is_the_real_network_s_cost(name: str) -> None:
    network, shape = build(name)
    anatomy = Anatomy(network, shape)
    generator = torch.Generator().manual_seed(0)
    kept = {
        module: sorted(torch.randperm(n, generator=generator)[: max(1, n // (2 + i % 3))].tolist())
        for i, (module, n) in enumerate(anatomy.channels.items())
    }
    assert anatomy.costs.macs(anatomy.channels) == count_macs(network, shape)
    anatomy.remove(kept)
    counts = {module: len(channels) for module, channels in kept.items()}
    assert anatomy.costs.params(counts) == count_params(network)
    assert anatomy.costs.macs(counts) == count_macs(network, shape)
    assert count_macs(network, shape) == macs_by_hooks(network, shape)


@pytest.mark.parametrize("name", ["resnet8", "vgg8"])
def test_a_pruned_network_is_the_masked_one(name: str) -> None:
    """Zeroing a module's channels after their normalisation equals cutting them out."""
    network, shape = build(name)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -1, 1, generator=torch.Generator().manual_seed(1))
            nn.init.uniform_(layer.weight, 0.5, 1.5, generator=torch.Generator().manual_seed(2))
    masked, pruned = copy.deepcopy(network), copy.deepcopy(network)
    anatomy = Anatomy(pruned, shape)
    kept = {m.name: list(range(0, m.channels, 2)) for m in anatomy.modules}
    with torch.no_grad():
        for module in anatomy.modules:
            gone = [c for c in range(module.channels) if c not in kept[module.name]]
            for member in module.members:
                layer = masked.get_submodule(member.layer)
                if isinstance(layer, nn.BatchNorm2d):
                    layer.weight[gone] = 0
                    layer.bias[gone] = 0
    anatomy.remove(kept)
    images = torch.rand(4, *shape)
    torch.testing.assert_close(pruned(images), masked(images), rtol=1e-5, atol=1e-5)


def test_residual_layers_share_a_module(digits: datasets.Dataset) -> None:
    anatomy = Anatomy(blank(digits), digits.shape)
    stem = next(m for m in anatomy.modules if "network.conv" in m.makers())
    assert sorted(stem.makers()) == ["network.conv", "network.stages.0.0.conv2"]
    assert not any("classifier" in layer for m in anatomy.modules for layer in m.makers())


def test_a_frozen_network_is_refused(digits: datasets.Dataset) -> None:
    network = blank(digits).requires_grad_(False)
    with pytest.raises(ValueError, match="unfreeze"):
        Anatomy(network, digits.shape)


def test_normalisation_is_inside(digits: datasets.Dataset) -> None:
    network = blank(digits)
    images = torch.rand(3, 1, 8, 8)
    by_hand = (images - digits.mean[0]) / digits.std[0]
    torch.testing.assert_close(network(images), network.network(by_hand))
