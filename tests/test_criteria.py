"""Criteria, each against an independent slow computation."""

from __future__ import annotations

import copy

import pytest
import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn import functional as F

from prune_core import datasets
from prune_core.criteria import Layer, channel_scores, lamp
from prune_core.modules import Anatomy
from prune_core.pruning import calibration_gradients
from prune_core.specs import Calibration

from rows import names


def scores(
    network: nn.Module, data: datasets.Dataset, criterion: str, key: str = "k"
) -> dict[str, Tensor]:
    anatomy = Anatomy(network, data.shape)
    calibration = Calibration(samples=200, batch_size=64)
    return channel_scores(
        network,
        anatomy.modules,
        criterion,
        lambda: calibration_gradients(network, data, calibration, key),
        key,
    )


@pytest.mark.parametrize("name", names("criteria"))
def test_invariants(name: str, trained: nn.Module, digits: datasets.Dataset) -> None:
    before = copy.deepcopy(trained.state_dict())
    first = scores(trained, digits, name)
    torch.manual_seed(99)  # nothing may depend on the global seed
    again = scores(trained, digits, name)
    for module, found in first.items():
        assert found.isfinite().all()
        assert (found >= 0).all()
        assert torch.equal(found, again[module])
    assert all(torch.equal(before[k], v) for k, v in trained.state_dict().items())
    assert all(p.grad is None for p in trained.parameters())
    assert not trained.training
    other = scores(trained, digits, name, key="other")
    changed = any(not torch.equal(first[m], other[m]) for m in first)
    assert changed == (name in ("random", "taylor"))  # what is drawn follows the stage's key


def rows_of(network: nn.Module, layer: str, side: str, channel: int) -> Tensor:
    weight = network.get_submodule(layer).weight.detach()
    return weight[channel] if side == "out" else weight[:, channel]


SLOW = {
    "l1": lambda w, g: float(w.abs().sum()),
    "l2": lambda w, g: float(w.square().sum().sqrt()),
    "taylor": lambda w, g: float((w * g).sum()) ** 2,
}


@pytest.mark.parametrize("name", sorted(SLOW))
def test_against_one_channel_at_a_time(
    name: str, trained: nn.Module, digits: datasets.Dataset
) -> None:
    gradients = calibration_gradients(trained, digits, Calibration(samples=200, batch_size=64), "k")
    found = scores(trained, digits, name)
    for module in Anatomy(trained, digits.shape).modules:
        members = [
            m for m in module.members
            if isinstance(trained.get_submodule(m.layer), nn.Conv2d | nn.Linear)
        ]  # fmt: skip
        for channel in range(0, module.channels, 7):
            slow = []
            for member in members:
                w = rows_of(trained, member.layer, member.side, channel)
                full = gradients[member.layer]
                g = full[channel] if member.side == "out" else full[:, channel]
                slow.append(SLOW[name](w, g))
            expected = sum(slow) / len(slow)
            assert float(found[module.name][channel]) == pytest.approx(expected, rel=1e-4)


def test_lamp_by_its_definition() -> None:
    weight = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    squared = weight.square().sum(1)
    expected = [float(s / squared[squared >= s].sum()) for s in squared]
    found = lamp(Layer("x", weight, 0, lambda: weight))
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    assert float(found.max()) == pytest.approx(1)


def test_lamp_gives_ties_their_order_and_zeros_a_score() -> None:
    weight = torch.zeros(4, 2)
    assert lamp(Layer("x", weight, 0, lambda: weight)).isfinite().all()


def test_l1_is_torch_pruning_s_group_magnitude(
    trained: nn.Module, digits: datasets.Dataset
) -> None:
    importance = tp.importance.GroupMagnitudeImportance(
        p=1, normalizer=None, target_types=[nn.Conv2d, nn.Linear]
    )
    found = scores(trained, digits, "l1")
    for module in Anatomy(trained, digits.shape).modules:
        graph = tp.DependencyGraph().build_dependency(trained, torch.zeros(2, *digits.shape))
        root = trained.get_submodule(module.name)
        every = list(range(module.channels))
        group = graph.get_pruning_group(root, tp.prune_conv_out_channels, idxs=every)
        torch.testing.assert_close(found[module.name], importance(group))


def test_calibration_gradients_are_those_of_one_big_batch(
    trained: nn.Module, digits: datasets.Dataset
) -> None:
    small = calibration_gradients(trained, digits, Calibration(samples=150, batch_size=32), "k")
    whole = calibration_gradients(trained, digits, Calibration(samples=150, batch_size=150), "k")
    for name, gradient in small.items():
        torch.testing.assert_close(gradient, whole[name], rtol=1e-3, atol=1e-6)
    everything = Calibration(samples=10**6, batch_size=10**6)
    images, labels = digits.train.batch(slice(None))
    weight = trained.network.classifier.weight
    expected = torch.autograd.grad(F.cross_entropy(trained(images), labels), weight)[0]
    found = calibration_gradients(trained, digits, everything, "k")["network.classifier"]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_a_criterion_from_outside(trained: nn.Module, digits: datasets.Dataset) -> None:
    for name in ("outside:smallest_first", "outside:signed"):
        assert all(s.isfinite().all() for s in scores(trained, digits, name).values())


def test_a_criterion_that_misbehaves_is_named(trained: nn.Module, digits: datasets.Dataset) -> None:
    with pytest.raises(ValueError, match=r"'outside:wrong_shape' on network.conv: scores must be"):
        scores(trained, digits, "outside:wrong_shape")
