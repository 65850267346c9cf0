"""Architectures and their prunable modules: counts, couplings, exact costs."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from prune_core.data import datasets
from prune_core.models import architectures
from prune_core.pruning.prunable.channels import Channels
from prune_core.pruning.prunable.counting import count_macs, count_params
from prune_core.pruning.prunable.cuts import some_of
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.prunable.wiring import is_cut_rightly
from prune_core.pruning.prune import prune

from conftest import blank, pruned_stage
from rows import names, row

SHAPE = (3, 32, 32)
FAST = ["resnet8", "vgg8", "mobilenetv2", "mobilevit-xxs", "vit-tiny", "densenet121"]
MASKED = ["resnet8", "mobilenetv2", "mobilevit-xxs", "vit-tiny"]
"""Masks are of layers, whatever joins these: convolutions, in groups too, linear, attention."""


def build(name: str, seed: int = 0) -> nn.Module:
    return architectures.build(name, SHAPE, 10, (0.5,) * 3, (0.25,) * 3, seed).eval()


@pytest.mark.parametrize("name", names("architectures"))
def test_logits_parameters_and_seed(name: str) -> None:
    network = build(name)
    images = torch.rand(2, *SHAPE)
    state = torch.random.get_rng_state()
    assert network(images).shape == (2, 10)
    assert count_params(network) == row("architectures", name)["params"]
    assert torch.equal(torch.random.get_rng_state(), state)
    if name in FAST:
        assert torch.equal(build(name)(images), network(images))
        assert not torch.equal(build(name, seed=1)(images), network(images))
        assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(("name", "blocks"), [("resnet20", 3), ("resnet110", 18)])
def test_parameters_of_resnets_by_formula(name: str, blocks: int) -> None:
    total, before = 27 * 16 + 32, 16
    for width in (16, 32, 64):
        total += 9 * before * width + 9 * width**2 + 4 * width
        total += before * width + 2 * width if width != before else 0
        total += (blocks - 1) * (18 * width**2 + 4 * width)
        before = width
    assert row("architectures", name)["params"] == total + 650


def test_parameters_of_wide_resnets_by_formula() -> None:
    total, before = 27 * 16, 16
    for width in (160, 320, 640):
        total += 2 * before + 9 * before * width + 2 * width + 9 * width**2 + before * width
        total += 3 * (4 * width + 18 * width**2)
        before = width
    assert row("architectures", "wrn-28-10")["params"] == total + 2 * 640 + 6410


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 64, 64)])
@pytest.mark.parametrize("name", FAST)
def test_any_channels_and_sizes(name: str, shape: tuple[int, int, int]) -> None:
    mean = (0.5,) * shape[0]
    network = architectures.build(name, shape, 7, mean, mean, 0).eval()
    assert network(torch.rand(1, *shape)).shape == (1, 7)


def macs_by_counter(network: nn.Module) -> int:
    """An independent count: what torch's own counter sees of convolutions and linear layers."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, *SHAPE))
    counts = counter.get_flop_counts()["Global"]
    # Products of activations with each other, as in attention, are batched: bmm.
    layers = ("aten.convolution", "aten.addmm", "aten.mm")
    return sum(n for op, n in counts.items() if str(op) in layers) // 2


@pytest.mark.parametrize(
    ("name", "granularity"),
    [
        *((name, "channel") for name in names("architectures")),
        *((name, "weight") for name in [*MASKED, "timm:resnext26ts"]),
        *((name, "2:4") for name in MASKED),
    ],
)
def test_the_cost_model_is_the_real_network_s_cost(name: str, granularity: str) -> None:
    """For a random choice of units, before and after, against independent counts."""
    network = build(name)
    for parameter in network.parameters():
        nn.init.uniform_(parameter, 1, 2)
    view = prunable_view(network, SHAPE, granularity)
    draw = torch.Generator().manual_seed(0)
    whole = np.array([module.units for module in view.modules])
    kept = {
        module.name: view.select(
            module,
            torch.rand(module.units, generator=draw),
            max(1, (module.cap or module.units) // (2 + i % 3)),
        )
        for i, module in enumerate(view.modules)
    }
    counts = np.array([len(units) for units in kept.values()])
    assert view.costs.params(whole) == sum(p.numel() for p in network.parameters())
    assert view.costs.macs(whole) == macs_by_counter(network)
    view.remove(kept)
    left = [p for n, p in network.named_parameters()]
    if granularity == "channel":
        assert view.costs.params(counts) == sum(p.numel() for p in left)
        assert view.costs.macs(counts) == macs_by_counter(network)
    else:
        zeros = sum(int((w == 0).sum()) for w in left if w.dim() > 1)
        assert view.costs.params(counts) == sum(p.numel() for p in left) - zeros
    assert count_params(network) == view.costs.params(counts)
    assert count_macs(network, SHAPE) == view.costs.macs(counts)


@pytest.mark.parametrize("name", [n for n in names("architectures") if ":" not in n])
def test_a_pruned_network_trains(name: str) -> None:
    """After cutting 90 % of the parameters, gradients reach every parameter that is left."""
    network = build(name)
    stage = pruned_stage(sparsity=0.9)
    scores = {m.name: torch.rand(m.units) for m in prunable_view(network, SHAPE, "channel").modules}
    _, report = prune(network, SHAPE, stage, scores)
    assert report.shortfall is None
    assert report.params_removed == pytest.approx(0.9, abs=0.01)
    network.train()
    loss = F.cross_entropy(network(torch.rand(4, *SHAPE)), torch.arange(4))
    loss.backward()
    assert loss.isfinite()
    assert not [name for name, p in network.named_parameters() if p.grad is None]


@pytest.mark.parametrize("name", ["resnet8", "vgg8", "wrn-16-4", "mobilenetv2", "densenet121"])
def test_a_pruned_network_is_the_masked_one(name: str) -> None:
    """Zeroing channels where they are read equals cutting them out.

    Exact where nothing mixes channels between the layers that make and that read them; a LayerNorm
    over channels does.
    """
    network = build(name)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -1, 1, generator=torch.Generator().manual_seed(1))
            nn.init.uniform_(layer.weight, 0.5, 1.5, generator=torch.Generator().manual_seed(2))
    masked, pruned = copy.deepcopy(network), copy.deepcopy(network)
    view = Channels(pruned, SHAPE)
    kept = {m.name: list(range(0, m.units, 2)) for m in view.modules}
    with torch.no_grad():
        for module in view.modules:
            for member in module.members:
                if member.side == "in":
                    pairs = zip(member.units, member.channels, strict=True)
                    gone = [unit for unit, channel in pairs if channel % 2]
                    masked.get_submodule(member.layer).weight[:, gone] = 0
    view.remove(kept)
    images = torch.rand(4, *SHAPE)
    torch.testing.assert_close(pruned(images), masked(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["vit-tiny", "convnext-tiny", "mobilevit-xxs"])
def test_a_pruned_network_reads_the_same_channels(name: str) -> None:
    """With few channels left, Torch-Pruning's own LayerNorm puts its scales in another order."""
    network = build(name)
    view = Channels(network, SHAPE)
    assert is_cut_rightly(network, view, some_of(view, 0.1), SHAPE)


def test_attention_without_some_heads_is_the_masked_one() -> None:
    network = build("vit-tiny")
    masked, pruned = copy.deepcopy(network), copy.deepcopy(network)
    view = Channels(pruned, SHAPE)
    heads = [m for m in view.modules if m.name.endswith("qkv")]
    assert [m.units for m in heads] == [3] * 12
    kept = {m.name: [0, 2] if m in heads else list(range(m.units)) for m in view.modules}
    with torch.no_grad():
        for module in heads:
            proj = masked.get_submodule(module.name.replace("qkv", "proj"))
            proj.weight[:, 64:128] = 0
    view.remove(kept)
    images = torch.rand(2, *SHAPE)
    torch.testing.assert_close(pruned(images), masked(images), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_pruned_by_channel_is_refused_with_a_way_out() -> None:
    for name, words in (
        ("timm:resnext26ts", "convolution in .* groups cannot be pruned"),
        ("torchvision:vit_b_32", "MultiheadAttention .* cannot be pruned"),
    ):
        side = 224 if "vit" in name else 32
        network = architectures.build(name, (3, side, side), 10, (0.5,) * 3, (0.5,) * 3, 0)
        with pytest.raises(ValueError, match=words):
            Channels(network, (3, side, side))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm:resnet_99", "timm has no network 'resnet_99'"),
        ("torchvision:no", "torchvision has no network 'no'"),
    ],
)
def test_an_unknown_library_network_is_named(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(name)


def test_residual_layers_share_a_module(digits: datasets.Dataset) -> None:
    view = Channels(blank(digits), digits.shape)
    stem = next(m for m in view.modules if "network.conv" in m.makers())
    assert sorted(stem.makers()) == ["network.conv", "network.stages.0.0.conv2"]
    assert not any("classifier" in layer for m in view.modules for layer in m.makers())


def test_a_frozen_network_is_refused(digits: datasets.Dataset) -> None:
    network = blank(digits).requires_grad_(False)
    with pytest.raises(ValueError, match="unfreeze"):
        Channels(network, digits.shape)


def test_normalisation_is_inside(digits: datasets.Dataset) -> None:
    network = blank(digits)
    images = torch.rand(3, 1, 8, 8)
    by_hand = (images - digits.mean[0]) / digits.std[0]
    torch.testing.assert_close(network(images), network.network(by_hand))


@pytest.mark.parametrize("name", ["timm:repvgg_a0", "timm:deit_tiny_distilled_patch16_224",
                                  "torchvision:vit_b_32", "timm:resnetv2_50"])  # fmt: skip
def test_library_networks_take_small_images(name: str) -> None:
    assert build(name)(torch.rand(2, *SHAPE)).shape == (2, 10)


def test_memory_that_runs_out_in_pruning_is_no_fault_of_the_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = build("resnet8")
    scores = {m.name: torch.rand(m.units) for m in prunable_view(network, SHAPE, "channel").modules}

    def run_out(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("prune_core.pruning.prunable.channels.Channels.remove", run_out)
    with pytest.raises(torch.OutOfMemoryError):
        prune(network, SHAPE, pruned_stage(), scores)


def test_a_network_that_the_graph_does_not_understand_is_said_to_be() -> None:
    network = build("timm:ghostnet_100")
    scores = {m.name: torch.rand(m.units) for m in prunable_view(network, SHAPE, "channel").modules}
    with pytest.raises(
        RuntimeError, match=r"could not be pruned by channel: .* granularity weight"
    ):
        prune(network, SHAPE, pruned_stage(), scores)
    whole = build("timm:ghostnet_100")
    scores = {m.name: torch.rand(m.units) for m in prunable_view(whole, SHAPE, "weight").modules}
    _, report = prune(whole, SHAPE, pruned_stage(granularity="weight"), scores)
    assert report.params_removed == pytest.approx(0.5, abs=1e-4)
