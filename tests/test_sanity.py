"""Sanity checks: sound networks pass, networks that mislead gradients are caught."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn

from prune_core.attacks import sanity
from prune_core.attacks.norms import NORMS
from prune_core.attacks.sanity import CHECKS, NEEDED, check, sign_test, whole_image
from prune_core.data import datasets
from prune_core.specs.settings import Threat
from prune_core.specs.stages import Sanity
from prune_core.training import loop as training

from conftest import THREAT, blank, dense_stage, pruned_stage

STAGE = Sanity(network=pruned_stage(), threat=THREAT, images=96)


@pytest.fixture(scope="module")
def robust(digits: datasets.Dataset) -> nn.Module:
    stage = dense_stage("pgd", epochs=3)
    network = blank(digits)
    training.fit(network, digits, stage.training, stage.threat, stage.key)
    return network


def failed(network: nn.Module, dense: nn.Module, data: datasets.Dataset) -> list[str]:
    return [found.check for found in check(network, dense, data.test, STAGE) if not found.passed]


def test_sound_networks_pass(
    robust: nn.Module, trained: nn.Module, digits: datasets.Dataset
) -> None:
    found = check(robust, trained, digits.test, STAGE)
    assert [each.check for each in found] == [name for name in CHECKS if name != "precision"]
    assert all(each.passed and each.images == 96 for each in found)
    assert all(each.attacked <= 96 - NEEDED + 1 + (each.against or 0) for each in found)
    assert all((each.against or 0) < 3 for each in found if each.check != "more-steps")
    assert found[1].against < NEEDED  # 10 and 20 steps are as strong: on some images chance decides
    assert found[-1].against == 0  # by PGD that may paint any image
    assert failed(trained, robust, digits) == []
    assert failed(blank(digits), robust, digits) == []  # an untrained one as well


class Stairs(nn.Module):
    """Sees pixels in steps: gradients are zero everywhere."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network((images * 15).round() / 15)


class Saturated(nn.Module):
    """The softmax is 1 or 0 in float32: where it is right, its loss has no gradient."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 1e4 * self.network(images)


@pytest.mark.parametrize(
    ("kind", "caught"),
    [(Stairs, {"black-box", "transfer", "large-eps"}), (Saturated, {"transfer"})],
)
def test_masked_gradients_are_caught(
    kind: type[nn.Module], caught: set[str], trained: nn.Module, digits: datasets.Dataset
) -> None:
    assert caught <= set(failed(kind(copy.deepcopy(trained)), trained, digits))


def test_an_attack_that_grows_weaker_with_steps_is_caught(
    robust: nn.Module, digits: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = sanity.attack

    def weak(network, twin, images, labels, name, threat):
        if name == f"pgd-{sanity.STEPS}":
            return images
        return plain(network, twin, images, labels, name, threat)

    monkeypatch.setattr(sanity, "attack", weak)
    assert failed(robust, robust, digits) == ["iterated", "more-steps", "black-box", "transfer"]


def test_a_constant_network_is_no_false_robustness(digits: datasets.Dataset) -> None:
    network = blank(digits)
    with torch.no_grad():
        network.network.classifier.weight.zero_()
        network.network.classifier.bias.copy_(torch.arange(10.0))
    assert failed(network, network, digits) == []


def test_checks_leave_networks_and_global_state_alone(
    robust: nn.Module, trained: nn.Module, digits: datasets.Dataset
) -> None:
    networks = [copy.deepcopy(robust).train(), copy.deepcopy(trained)]
    before = [copy.deepcopy(network.state_dict()) for network in networks]
    torch.manual_seed(4)
    state = torch.random.get_rng_state()
    first = check(networks[0], networks[1], digits.test, STAGE)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(5)
    assert check(networks[0], networks[1], digits.test, STAGE) == first
    assert networks[0].training
    for network, kept in zip(networks, before, strict=True):
        assert all(torch.equal(kept[n], t) for n, t in network.state_dict().items())
        assert all(p.grad is None for p in network.parameters())


def test_the_sign_test_counts_coins() -> None:
    """Against all outcomes of few coins, one by one."""
    for more, fewer in itertools.product(range(5), range(5)):
        tosses = list(itertools.product((0, 1), repeat=more + fewer))
        odds = sum(sum(coins) >= more for coins in tosses) / len(tosses)
        assert sign_test(more, fewer) == pytest.approx(odds)
    assert sign_test(10, 0) < sanity.SIGNIFICANT < sign_test(9, 0)


@pytest.mark.parametrize("seed", range(40))
def test_a_check_decides_as_if_both_attacks_ran_on_all_images(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    strong, weak = (torch.rand(60, generator=draw) < share for share in (0.5, 0.3 + 0.01 * seed))
    asked: list[torch.Tensor] = []
    for knows_stronger in (True, False):
        known, other = (strong, weak) if knows_stronger else (weak, strong)

        def attacked(some: torch.Tensor, other: torch.Tensor = other) -> torch.Tensor:
            asked.append(some)
            return other & some

        pair = sanity.Pair("strong", "weak", known, attacked, knows_stronger)
        more, fewer = int((strong & ~weak).sum()), int((weak & ~strong).sum())
        passed, against, attacked = sanity._decided(pair)
        assert passed == (sign_test(more, fewer) >= sanity.SIGNIFICANT)
        assert (against or 0) <= more < (against or 0) + NEEDED
        assert against == more or passed
        assert attacked == sum(int(some.sum()) for some in asked)
        speaking = int((strong if knows_stronger else ~weak).sum())
        assert attacked in (60, max(0, speaking - NEEDED + 1 + (against or 0)))
        asked.clear()


def test_what_cannot_fail_is_not_attacked() -> None:
    few = torch.arange(60) < sanity.NEEDED - 1
    nothing = sanity.Pair("strong", "weak", few, lambda some: 1 / 0)
    assert sanity._decided(nothing) == (True, None, 0)


def test_what_was_evaluated_is_not_attacked_again(
    robust: nn.Module, digits: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many images count against it as the evaluation says, be it true or not."""
    stage = Sanity(network=STAGE.network, threat=THREAT, images=96, told=("fgsm", "pgd-20"))
    plain, run = sanity.attack, set()

    def attack(network, twin, images, labels, name, threat):
        run.add(name)
        return plain(network, twin, images, labels, name, threat)

    monkeypatch.setattr(sanity, "attack", attack)
    told = {"fgsm": [False] * len(digits.test), "pgd-20": [True] * len(digits.test)}
    found = {each.check: each for each in check(robust, robust, digits.test, stage, told)}
    assert run == {"pgd-10", "square-100"}
    assert (found["iterated"].passed, found["iterated"].against) == (False, 96)
    assert stage.key != STAGE.key


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_whole_image_is_in_reach(norm: str) -> None:
    images = torch.zeros(2, 1, 4, 4)
    threat = whole_image(Threat(norm=norm, eps=0.1), images)
    farthest = torch.ones(2, 1, 4, 4)
    assert float(NORMS[norm].length(farthest).max()) <= threat.eps
