"""Attacks in training: what they raise, where they start, which network they see."""

from __future__ import annotations

import copy

import pytest
import torch
from test_objectives import Setting
from torch import nn

from prune_core.data import datasets
from prune_core.specs.recipes import Training
from prune_core.training.training_attack import KINDS, TrainingAttack

from conftest import THREAT


@pytest.fixture
def setting(trained: nn.Module, digits: datasets.Dataset) -> Setting:
    return Setting(trained, digits)


def attack_of(
    network: nn.Module, objective: str, seed: int = 3, **settings: object
) -> TrainingAttack:
    training = Training(objective=objective, epochs=1, **settings).resolved()
    generator = torch.Generator().manual_seed(seed)
    return TrainingAttack(network, training, THREAT, generator=generator)


@pytest.mark.parametrize("kind", KINDS)
def test_attacks_in_training_raise_what_their_paper_says(kind: str, setting: Setting) -> None:
    network = setting.network
    clean = copy.deepcopy(network).eval()
    before = copy.deepcopy(network.state_dict())
    attack = attack_of(network, "pgd", attack_steps=5)
    found = attack(network, setting.images, setting.labels, kind)
    assert float((found - setting.images).abs().max()) <= THREAT.eps + 1e-6
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert all(torch.equal(before[n], t) for n, t in network.state_dict().items())
    assert network.training
    assert all(p.grad is None for p in network.parameters())
    target, _ = clean(setting.images).softmax(1), None
    loss = KINDS[kind][1]
    aim = target.detach() if kind == "trades" else setting.labels
    with torch.no_grad():
        start, end = (float(loss(clean(x), aim)) for x in (setting.images, found))
    assert end > 1.5 * start + 1
    again = attack_of(network, "pgd", attack_steps=5)
    assert torch.equal(again(network, setting.images, setting.labels, kind), found)


def test_starts_of_attacks_in_training(setting: Setting) -> None:
    for kind, (start, _) in KINDS.items():
        attack = attack_of(setting.network, "pgd", attack_steps=1, attack_step=1e-9)
        found = attack(setting.network, setting.images, setting.labels, kind)
        inner = (found > 0) & (found < 1) & (found != setting.images)
        moved = (found - setting.images)[inner].abs()
        uniform = start == "uniform"
        assert float(moved.max()) > 0.9 * THREAT.eps if uniform else float(moved.max()) < 0.01


def test_fast_training_attacks_in_training_mode(setting: Setting) -> None:
    """As its authors do: by the batch's statistics, whose running means the attack moves."""
    network = setting.network
    tracked = int(network.network.bn.num_batches_tracked)
    attack = attack_of(network, "fgsm")
    assert (attack.training.attack_steps, attack.training.attack_step) == (1, 1.25)
    found = attack(network, setting.images, setting.labels, "pgd")
    assert int(network.network.bn.num_batches_tracked) == tracked + 1
    quiet = attack_of(network, "fgsm", attack_mode="eval")
    other = quiet(network, setting.images, setting.labels, "pgd")
    assert int(network.network.bn.num_batches_tracked) == tracked + 1
    assert not torch.equal(found, other)


def test_the_attack_follows_the_weights(setting: Setting) -> None:
    """Its twin is refreshed: after a step it attacks what the network has become."""
    network = setting.network
    attack = attack_of(network, "pgd", attack_steps=3)
    attack(network, setting.images, setting.labels, "pgd")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(-1.5)
    attack.generator = torch.Generator().manual_seed(7)
    found = attack(network, setting.images, setting.labels, "pgd")
    fresh = attack_of(network, "pgd", seed=7, attack_steps=3)
    assert torch.equal(found, fresh(network, setting.images, setting.labels, "pgd"))


def test_another_network_is_attacked_as_it_is(setting: Setting) -> None:
    other = copy.deepcopy(setting.network)
    found = attack_of(setting.network, "pgd")(other, setting.images, setting.labels, "pgd")
    own = attack_of(other, "pgd")(other, setting.images, setting.labels, "pgd")
    torch.testing.assert_close(found, own, atol=2 * THREAT.eps, rtol=0)
    assert float(((found - own).abs() > 1e-4).float().mean()) < 0.02
    assert other.training
