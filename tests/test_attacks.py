"""Attacks and the inner adversary: closed forms, the ball, what they leave behind."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from prune_core import adversary, datasets
from prune_core.evaluation import accuracy, evaluate
from prune_core.modes import evaluating, seeded
from prune_core.registry import ATTACKS
from prune_core.specs import Threat
from prune_core.stages import Evaluation

from conftest import CPU, THREAT, dense_stage
from rows import names


class Linear(nn.Module):
    """Two classes, linear in the pixels: the worst image of the ball is known."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(16, generator=generator))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logit = images.flatten(1) @ self.weight
        return torch.stack([-logit, logit], 1)


def worst_images(
    network: Linear, images: torch.Tensor, labels: torch.Tensor, eps: float
) -> torch.Tensor:
    away = (1 - 2 * labels).view(-1, 1) * network.weight.sign()
    return (images.flatten(1) + eps * away).clamp(0, 1).view_as(images)


@pytest.mark.parametrize("name", ["fgsm", "pgd-20", "own"])
def test_the_optimum_on_a_linear_network(name: str) -> None:
    network = Linear().eval()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(32, 1, 4, 4, generator=generator)
    labels = torch.randint(2, (32,), generator=generator)
    threat = Threat(eps=0.1)
    if name == "own":
        found = adversary.pgd(network, images, labels, threat, 20, generator)
    else:
        found = ATTACKS.load(name)(network, images, labels, threat)
    expected = worst_images(network, images, labels, 0.1)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", names("attacks"))
def test_invariants(name: str, trained: nn.Module, digits: datasets.Dataset) -> None:
    stage = Evaluation(network=dense_stage(), attack=name, threat=THREAT)
    trained.train()  # an attack must not leave its mode or statistics behind
    before = {k: v.clone() for k, v in trained.state_dict().items()}
    torch.manual_seed(1)
    first = evaluate(trained, digits.test, stage)
    state = torch.random.get_rng_state()
    torch.manual_seed(2)
    second = evaluate(trained, digits.test, stage)
    assert trained.training
    trained.eval()
    assert first.correct == second.correct
    assert len(first.correct) == len(digits.test)
    assert first.accuracy == sum(first.correct) / len(digits.test)
    assert all(torch.equal(before[k], v) for k, v in trained.state_dict().items())
    assert all(p.grad is None for p in trained.parameters())
    torch.manual_seed(1)
    assert torch.equal(torch.random.get_rng_state(), state)  # the global state is not touched


def test_clean_is_plain_accuracy(trained: nn.Module, digits: datasets.Dataset) -> None:
    stage = Evaluation(network=dense_stage(), attack="clean", threat=None)
    assert evaluate(trained, digits.test, stage).accuracy == accuracy(trained, digits.test) > 0.8


def test_attacks_grow_with_steps_and_radius(trained: nn.Module, digits: datasets.Dataset) -> None:
    def robust(attack: str, eps: float) -> float:
        stage = Evaluation(network=dense_stage(), attack=attack, threat=Threat(eps=eps))
        return evaluate(trained, digits.test, stage).accuracy

    assert accuracy(trained, digits.test) > robust("fgsm", 0.1) >= robust("pgd-20", 0.1)
    assert robust("pgd-20", 0.05) > robust("pgd-20", 0.15) > robust("pgd-20", 1.0)
    assert robust("pgd-20", 1.0) < 0.02


def test_our_adversary_is_as_strong_as_torchattacks(
    trained: nn.Module, digits: datasets.Dataset
) -> None:
    images, labels = digits.test.batch(slice(0, 256))
    generator = torch.Generator().manual_seed(0)
    own = adversary.pgd(trained, images, labels, THREAT, 10, generator)
    with seeded(0, CPU):
        theirs = ATTACKS.load("pgd-10")(trained, images, labels, THREAT)
    with torch.no_grad():
        losses = [float(F.cross_entropy(trained(x), labels)) for x in (images, own, theirs)]
    assert losses[1] == pytest.approx(losses[2], rel=0.02)
    assert losses[1] > 2 * losses[0]
    assert float((own - images).abs().max()) <= THREAT.eps + 1e-6
    assert 0 <= float(own.min()) <= float(own.max()) <= 1


def test_an_attack_that_cheats_is_an_error(
    trained: nn.Module, digits: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prune_core.attacks.fgsm", lambda net, images, *rest: images + 0.5)
    stage = Evaluation(network=dense_stage(), attack="fgsm", threat=THREAT)
    with pytest.raises(RuntimeError, match="left its ball"):
        evaluate(trained, digits.test, stage)


def test_evaluating_gives_every_layer_its_own_mode_back() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout())
    network.train()
    network[0].eval()
    with evaluating(network):
        assert not any(module.training for module in network.modules())
    assert (network.training, network[0].training, network[1].training) == (True, False, True)
