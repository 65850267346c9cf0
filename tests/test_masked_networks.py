"""Networks pruned by masks: they hold, they are of the asked sparsity, they are counted."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from prune_core.data.datasets import Dataset
from prune_core.models import architectures
from prune_core.pruning.prunable import masks
from prune_core.pruning.prunable.counting import count_macs, count_params, origin_of
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.prunable.groups import positions
from prune_core.pruning.prunable.masks import Weights, best_of_groups
from prune_core.pruning.prune import prune, rebuild
from prune_core.specs.recipes import Training
from prune_core.training import loop as training
from prune_core.training.policies import Start, scratch

from conftest import blank, pruned_stage
from sparse_tensor_cores import accelerate, available


def random_masks(network: nn.Module, digits: Dataset, granularity: str = "weight") -> None:
    modules = prunable_view(network, digits.shape, granularity).modules
    draw = torch.Generator().manual_seed(3)
    scores = {m.name: torch.rand(m.units, generator=draw) for m in modules}
    prune(network, digits.shape, pruned_stage(granularity=granularity, sparsity=0.7), scores)


@pytest.mark.parametrize("granularity", ["weight", "2:4", "1:4"])
def test_masks_hold_through_training_and_scratch(
    granularity: str, trained: nn.Module, digits: Dataset
) -> None:
    network = copy.deepcopy(trained)
    pruned = pruned_stage(granularity=granularity, sparsity=0.8)
    modules = prunable_view(network, digits.shape, granularity).modules
    scores = {m.name: torch.rand(m.units) for m in modules}
    prune(network, digits.shape, pruned, scores)
    before = {n: m.mask.clone() for n, m in network.named_modules() if hasattr(m, "mask")}
    fresh = blank(digits, seed=1)
    rebuild(fresh, digits.shape, granularity, {name: [] for name in before})
    masks.take_masks(fresh, network)
    scratch(network, Start(seed=1, fresh=fresh))
    masks.hold(masks.masked(network))
    training.fit(network, digits, Training(epochs=1, lr=0.1), None, "key")
    for name, mask in before.items():
        layer = network.get_submodule(name)
        assert torch.equal(layer.mask, mask)
        assert not layer.weight[~mask].any()
        assert (layer.weight[mask] != 0).float().mean() > 0.99
    assert count_params(network) < 0.21 * count_params(trained)


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)),
    pattern=st.sampled_from([(1, 2), (2, 4), (1, 4), (3, 8)]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_a_pattern_keeps_the_n_best_of_every_m_inputs(
    shape: tuple[int, ...], pattern: tuple[int, int], seed: int
) -> None:
    out, groups, *kernel = shape
    n, m = pattern
    draw = torch.Generator().manual_seed(seed)
    scores = torch.rand(out, groups * m, *kernel, generator=draw)
    chosen = best_of_groups(scores, pattern)
    assert chosen.shape == scores.shape
    for o in range(out):
        for g in range(groups):
            part = slice(g * m, (g + 1) * m)
            for y in range(kernel[0]):
                for x in range(kernel[1]):
                    kept = chosen[o, part, y, x]
                    assert int(kept.sum()) == n
                    assert scores[o, part, y, x][kept].min() >= scores[o, part, y, x][~kept].max()


@given(
    sparsity=st.floats(0.05, 0.95),
    seed=st.integers(0, 99),
    allocation=st.sampled_from(["uniform", "erk", "global"]),
)
@settings(max_examples=40, deadline=None)
def test_masks_are_of_the_asked_sparsity_to_a_weight(
    sparsity: float, seed: int, allocation: str
) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(54, 7))
    modules = Weights(network, (2, 5, 5)).modules
    draw = torch.Generator().manual_seed(seed)
    scores = {m.name: torch.rand(m.units, generator=draw) for m in modules}
    stage = pruned_stage(
        granularity="weight", sparsity=sparsity, allocation=allocation, min_keep=0.0
    )
    _, report = prune(network, (2, 5, 5), stage, scores)
    total = 108 + 6 + 378 + 7
    left = 13 + sum(int(layer.mask.sum()) for layer in masks.masked(network))
    assert report.params == left
    assert abs(left - (1 - sparsity) * total) <= 0.5 or left == 13 + 2


def test_global_magnitude_is_that_of_the_field(trained: nn.Module, digits: Dataset) -> None:
    """Han et al., 2015: what is kept of a network are its largest weights, wherever they are."""
    network = copy.deepcopy(trained)
    modules = prunable_view(network, digits.shape, "weight").modules
    scores = {
        m.name: network.get_parameter(f"{m.name}.weight").detach().abs().flatten() for m in modules
    }
    stage = pruned_stage(granularity="weight", sparsity=0.95, allocation="global", min_keep=0.0)
    _, report = prune(network, digits.shape, stage, scores)
    kept = torch.cat([network.get_submodule(name).mask.flatten() for name in scores])
    best = torch.cat(list(scores.values())).topk(int(kept.sum())).indices
    assert kept[best].all()
    densities = [module.width_after / module.width_before for module in report.modules]
    assert min(densities) < 0.02
    assert max(densities) > 0.3


def test_layers_that_a_pattern_does_not_fill_stay_whole(
    trained: nn.Module, digits: Dataset
) -> None:
    network = copy.deepcopy(trained)
    random_masks(network, digits, "2:4")
    assert not hasattr(network.get_submodule("network.conv"), "mask")  # one input channel
    inner = network.get_submodule("network.stages.1.0.conv1")
    groups = inner.weight.movedim(1, -1).reshape(-1, 4)
    assert int((groups != 0).sum(1).max()) == 2


def test_masked_networks_copy_and_count(trained: nn.Module, digits: Dataset) -> None:
    network = copy.deepcopy(trained)
    random_masks(network, digits)
    again = copy.deepcopy(network)
    assert count_params(again) == count_params(network)
    weights = sum(int((w == 0).sum()) for n, w in network.named_parameters() if w.dim() > 1)
    whole = sum(parameter.numel() for parameter in network.parameters())
    assert count_params(network) == whole - weights
    places = positions(network, digits.shape)
    macs = sum(int((network.get_submodule(n).weight != 0).sum()) * p for n, p in places.items())
    assert count_macs(network, digits.shape) == macs


def test_a_masked_weight_never_comes_back(trained: nn.Module, digits: Dataset) -> None:
    network = copy.deepcopy(trained)
    origin = origin_of(network, digits.shape, "weight")
    before: dict[str, Tensor] = {}
    for sparsity in (0.3, 0.6, 0.85):
        modules = prunable_view(network, digits.shape, "weight").modules
        scores = {m.name: torch.rand(m.units) for m in modules}
        stage = pruned_stage(granularity="weight", sparsity=sparsity, allocation="global")
        _, report = prune(network, digits.shape, stage, scores, origin=origin)
        assert report.params_removed == pytest.approx(sparsity, abs=1e-4)
        for name, mask in before.items():
            assert not (network.get_submodule(name).mask & ~mask).any()
        before = {n: m.mask.clone() for n, m in network.named_modules() if hasattr(m, "mask")}


@pytest.mark.parametrize("name", ["resnet18", "vit-tiny"])
def test_a_network_in_matrix_products_is_the_masked_one(name: str) -> None:
    """The form in which sparse tensor cores take it, here with matrices left uncompressed."""
    shape = (3, 16, 16)
    network = architectures.build(name, shape, 10, (0.5,) * 3, (0.25,) * 3, 0).eval()
    view = prunable_view(network, shape, "2:4")
    draw = torch.Generator().manual_seed(0)
    view.remove(
        {m.name: view.select(m, torch.rand(m.units, generator=draw), m.cap) for m in view.modules}
    )
    fast, names = accelerate(network, compress=lambda matrix: matrix, dtype=torch.float32)
    assert len(names) >= 0.8 * len(view.modules)
    images = torch.rand(3, *shape)
    torch.testing.assert_close(fast(images), network(images), rtol=1e-4, atol=1e-4)
    assert not available(torch.device("cpu"))


def test_only_layers_masked_two_of_four_are_compressed() -> None:
    network = nn.Sequential(nn.Linear(64, 32), nn.Linear(32, 32), nn.Linear(32, 10)).eval()
    for layer in network:
        masks.attach(layer)
    network[0].mask[:, ::2] = False  # the second has too few columns, and is whole
    masks.hold(network)
    _, names = accelerate(network, compress=lambda matrix: matrix, dtype=torch.float32)
    assert names == ["0"]
