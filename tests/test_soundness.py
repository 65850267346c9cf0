"""Networks of a user's own that would give wrong numbers, or none after hours, are refused."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_core.attacks.evaluation import accuracy, evaluate
from prune_core.data.datasets import Dataset
from prune_core.errors import DivergedError
from prune_core.models.folding import Twin
from prune_core.models.state import copied
from prune_core.pruning.rehearsal import rehearse
from prune_core.specs.registry import ATTACKS
from prune_core.specs.settings import Threat
from prune_core.specs.stages import Evaluation
from prune_core.training.loop import fit

import outside
from conftest import dense_stage, pruned_stage
from odd_networks import FIRST, LAST, By, Make, after, between, by, conv, hooked, net, of

SHARED = conv(12, 12)


def changed(change: Callable[[nn.Module], object]) -> Make:
    """Return a plain network with something done to it."""

    def make(shape: tuple[int, int, int], classes: int) -> nn.Module:
        network = between(of(conv, 12, 12))(shape, classes)
        change(network)
        return network

    return make


def in_one_place(network: nn.Module) -> None:
    network.body[3].bias.data = network.body[2].bias.data[:8]


def drawn_elsewhere(network: nn.Module) -> None:
    draw = torch.Generator()
    draw.seed()
    nn.init.normal_(network.fc.weight, generator=draw)


class Stateful(nn.Linear):
    def get_extra_state(self) -> dict[str, int]:
        return {"calls": 1}


UNSOUND: dict[str, tuple[Make, str]] = {
    "nothing": (lambda shape, classes: None, "it returns a NoneType, and no torch.nn.Module"),
    "no parameters": (lambda *_: By(lambda s, x: x.flatten(1)[:, :10]), "no parameters to train"),
    "frozen": (changed(lambda n: n.requires_grad_(False)), "has no parameters to train"),
    "integers": (after(lambda x: F.one_hot(x.argmax(1), 10)), "returns a tensor of int64"),
    "complex": (after(lambda x: x.to(torch.complex64)), "returns a tensor of complex64; it must"),
    "sparse": (after(lambda x: x.to_sparse()), "returns a tensor of sparse_coo; it must"),
    "not finite": (after(lambda x: x * torch.nan), "returns logits that are not finite"),
    "one image": (after(lambda x: x.squeeze()), r"returns a tensor \[10\] for 1 image; it must"),
    "by batch": (after(lambda x: x - x.mean(0)), "makes of an image what the others in its batch"),
    "batch's statistics": (between(of(nn.BatchNorm2d, 12, track_running_stats=False)),
                           "use running statistics, as BatchNorm has them"),
    "no gradient": (net(by(lambda s, x: x.data), *FIRST, *LAST), "lets no gradient through to its"),
    "infinite gradient": (net(by(lambda s, x: (x * 0).sqrt() + x), *FIRST, *LAST),
                          "gradient by its images that is not finite"),
    "leaving": (after(lambda x: sys.exit(3)), "cannot take images of .*: SystemExit: 3"),
    "double": (changed(lambda n: n.fc.double()), "parameter network.fc.weight of float64; it must"),
    "elsewhere": (changed(lambda n: n.fc.to("meta")), "network.fc.weight on the device meta"),
    "one place": (changed(in_one_place), r"has network.body.2.bias and network.body.3.bias in one"),
    "built once": (between(lambda: SHARED), "is built of network.body.2.weight again and again"),
    "drawn elsewhere": (changed(drawn_elsewhere), r"at the same seed \(network.fc.weight\)"),
    "state": (net(*FIRST, *LAST, fc=lambda c: Stateful(8, c)), "_extra_state that is a dict, and"),
    "lazy": (changed(lambda n: n.add_module("more", nn.LazyLinear(3))), "more.weight.*: lazy, and"),
    "own mask": (hooked(lambda layer: layer.register_buffer("mask", layer.weight > -9.0)), ""),
    "no mask": (hooked(lambda layer: setattr(layer, "mask", None)), "has a mask of its own, where"),
    "another mask": (hooked(lambda layer: layer.register_buffer("mask", layer.weight.detach())),
                     "network.body.2: it has a mask of its own, where"),
}  # fmt: skip


def faults(make: Make, data: Dataset, patch: pytest.MonkeyPatch) -> list[str]:
    patch.setattr(outside, "layer_scaled", make)
    stages = [pruned_stage(granularity="weight", sparsity=0.5)]
    return rehearse(
        "outside:layer_scaled", data.shape, data.classes, stages, attacks=["fgsm"]
    ).faults


@pytest.mark.parametrize("what", UNSOUND)
def test_a_network_that_is_not_sound_is_named(
    what: str, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, said = UNSOUND[what]
    found = faults(make, digits, monkeypatch)
    assert len(found) == bool(said)
    if said:
        with pytest.raises(ValueError, match=said):
            raise ValueError(*found)


def kept_in_order(self: By, images: Tensor) -> Tensor:
    """Compute logits; decide, keep maps, and want them in order of memory."""
    self.maps = self.a(images)
    self.seen.append({"maps": self.maps})
    if self.maps.sum() > 1e9:
        raise ValueError("too much")
    assert self.maps.is_contiguous()
    return self.fc(self.maps.relu().mean((2, 3)))


def from_numpy(network: nn.Module) -> None:
    network.fc.weight.data = torch.from_numpy(np.random.rand(10, 8)).float()


ODD: dict[str, Make] = {
    "keeps its maps": lambda shape, classes: By(
        kept_in_order, a=conv(1, 8), fc=nn.Linear(8, classes), seen=[]
    ),
    "numbers of numpy": changed(from_numpy),
    "a masked class": after(lambda x: x.index_fill(1, torch.tensor([3]), -torch.inf)),
    "black box": net(by(lambda s, x: x.data), *FIRST, *LAST),
}


@pytest.mark.parametrize("what", list(ODD)[:-1])
def test_what_is_only_odd_has_no_fault(
    what: str, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert faults(ODD[what], digits, monkeypatch) == []


def test_without_attacks_by_gradients_none_is_asked_for(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside, "layer_scaled", ODD["black box"])
    asked = [pruned_stage(granularity="weight", sparsity=0.5)]
    for attacks, count in (["square-10", "corruption-fog-1"], 0), (["square-10+fgsm"], 1):
        found = rehearse("outside:layer_scaled", digits.shape, 10, asked, attacks=attacks).faults
        assert len(found) == count


def test_a_network_that_kept_its_maps_is_copied(digits: Dataset) -> None:
    network = ODD["keeps its maps"](digits.shape, 10)
    images = digits.train.batch(slice(0, 4))[0]
    logits = network(images)
    assert torch.equal(Twin(network)(images), logits)
    assert torch.equal(copied(network)(images), logits)
    assert all(isinstance(each["maps"], Tensor) for each in network.seen)


def test_a_network_of_three_dimensions_is_attacked_as_it_is(digits: Dataset) -> None:
    network = net(by(lambda s, x: x.unsqueeze(1)), of(nn.Conv3d, 1, 8, (1, 3, 3)),
                  pool=lambda x: x.mean((2, 3, 4)))(digits.shape, 10).eval()  # fmt: skip
    images = digits.train.batch(slice(0, 4))[0]
    assert torch.equal(Twin(network)(images), network(images))


def test_logits_that_are_not_numbers_are_no_accuracy(digits: Dataset) -> None:
    network = between()(digits.shape, 10)
    network.fc.bias.data[3] = torch.nan
    with pytest.raises(DivergedError, match=r"the logits of .* images are not numbers"):
        accuracy(network, digits.validation)


def test_what_a_network_draws_in_training_hangs_on_the_key_alone(digits: Dataset) -> None:
    stage = dense_stage(objective="standard", epochs=1)
    trained = []
    for seed in range(2):
        torch.manual_seed(seed)
        network = net(*FIRST, *LAST, of(nn.Dropout, 0.5))(digits.shape, 10)
        for number, parameter in enumerate(network.parameters()):
            nn.init.normal_(parameter, generator=torch.Generator().manual_seed(number))
        fit(network, digits, stage.training, None, "key")
        trained.append(network.fc.weight)
    assert torch.equal(*trained)


def test_an_attack_of_ones_own_cannot_change_what_others_attack(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attack(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> Tensor:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()
        return images

    monkeypatch.setattr(outside, "moves", attack)
    network = between()(digits.shape, 10)
    twin = Twin(network)
    stage = Evaluation(network=dense_stage(), attack="outside:moves", threat=Threat(eps=0.1))
    outcome = evaluate(network, digits.test, stage, twin)
    assert outcome.accuracy == accuracy(network, digits.test)
    assert any(parameter.any() for parameter in twin.parameters())


def test_an_attack_cannot_change_the_labels(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attack(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> Tensor:
        labels.zero_()
        return images

    monkeypatch.setattr(type(ATTACKS), "load", lambda self, name: attack)
    before = digits.test.labels.clone()
    evaluate(between()(digits.shape, 10), digits.test, Evaluation(
        network=dense_stage(), attack="corruption-fog-1", threat=None))  # fmt: skip
    assert torch.equal(digits.test.labels, before)
