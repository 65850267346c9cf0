"""What methods of a user's own may return; what is none of it is refused, and never counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from prune_core.data.datasets import Dataset
from prune_core.pruning.rehearsal import rehearse
from prune_core.pruning.scores.layer import Layer

import outside
from conftest import pruned_stage, scored, scores_stage
from odd_networks import conv, net, of

Scored = Callable[[Tensor], object]
OWN = "outside:smallest_first"


@pytest.fixture
def network(digits: Dataset) -> nn.Module:
    return net(of(conv, 1, 12), nn.ReLU, of(conv, 12, 8))(digits.shape, 10)


WRONG: dict[str, tuple[Scored, str]] = {
    "list": (lambda scores: scores.tolist(), "got a list"),
    "nothing": (lambda scores: None, "got a NoneType"),
    "generator": (lambda scores: iter(scores), "got a map|got a generator|got a .*iterator"),
    "one": (lambda scores: scores.sum(), r"got shape \[\]"),
    "complex": (lambda scores: scores.to(torch.complex64), "got complex64, strided, on cpu"),
    "sparse": (lambda scores: scores.to_sparse(), "got float32, sparse_coo, on cpu"),
    "elsewhere": (lambda scores: scores.to("meta"), "got float32, strided, on meta"),
    "not finite": (lambda scores: scores / 0, "got 12 that are not finite as float32"),
    "too large": (lambda scores: scores.double() * 1e300, "12 that are not finite as float32"),
}


@pytest.mark.parametrize("what", WRONG)
def test_scores_that_are_none_are_refused(
    what: str, network: nn.Module, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    form, said = WRONG[what]
    monkeypatch.setattr(outside, "smallest_first", lambda layer: form(layer.weight.abs().sum(1)))
    with pytest.raises(ValueError, match=rf"a tensor of 12 finite numbers, .*{said}"):
        scored(network, digits, scores_stage(OWN))


@pytest.mark.parametrize("unit", ["channel", "weight"])
def test_a_criterion_cannot_change_the_network(
    unit: str, network: nn.Module, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changes(layer: Layer) -> Tensor:
        scores = layer.weight.abs().sum(1)
        layer.weight.zero_()
        own = layer.signals.network.train()
        own.register_forward_hook(lambda *_: None)
        return scores

    monkeypatch.setattr(outside, "smallest_first", changes)
    before = [parameter.clone() for parameter in network.eval().parameters()]
    scored(network, digits, scores_stage(OWN, unit=unit))
    assert all(map(torch.equal, before, network.parameters()))
    assert not network.training
    assert not network._forward_hooks


def test_what_a_criterion_draws_hangs_on_the_key_alone(
    network: nn.Module, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draws(layer: Layer) -> Tensor:
        return torch.rand(len(layer.weight)) + float(np.random.rand())

    monkeypatch.setattr(outside, "smallest_first", draws)
    one, two = (scored(network, digits, scores_stage(OWN)) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


SHARES: dict[str, tuple[Callable[[Mapping[str, int], float], object], str]] = {
    "none": (lambda units, dial: None, "returns a NoneType; it must return a mapping"),
    "list": (lambda units, dial: [dial] * len(units), "returns a list; it must return"),
    "fewer": (lambda units, dial: {"network.body.0": dial}, "gives no share for network.body.2"),
    "not finite": (lambda units, dial: dict.fromkeys(units, math.nan), "gives nan for network"),
    "text": (lambda units, dial: dict.fromkeys(units, "half"), "gives 'half' for network.body.0"),
    "constant": (lambda units, dial: dict.fromkeys(units, 0.5), "is 0.5 at dial 1, where all is"),
    "falling": (lambda units, dial: dict.fromkeys(units, 1 - dial), "falls while the dial turns"),
    "dial": (lambda units, dial: dict.fromkeys(units, dial), ""),
    "over": (lambda units, dial: dict.fromkeys(units, 3 * dial), ""),
}


@pytest.mark.parametrize("what", SHARES)
def test_shares_that_are_none_are_refused_before_anything_runs(
    what: str, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares, said = SHARES[what]
    make = net(of(conv, 1, 12), nn.ReLU, of(conv, 12, 8), nn.ReLU, of(conv, 8, 8))
    monkeypatch.setattr(outside, "layer_scaled", make)
    monkeypatch.setattr(outside, "halves", lambda evidence, dial: shares(evidence.units, dial))
    asked = pruned_stage(allocation="outside:halves", granularity="channel")
    found = rehearse("outside:layer_scaled", digits.shape, 10, [asked]).faults
    assert len(found) == bool(said)
    assert said in "".join(found)
