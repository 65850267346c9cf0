"""Evaluation trusts no attack: what leaves the ball or the range of images is an error."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from prune_core.attacks import nearest
from prune_core.attacks.evaluation import attack, evaluate, right
from prune_core.data import datasets
from prune_core.models.folding import Twin
from prune_core.models.state import evaluating
from prune_core.specs.registry import ATTACKS
from prune_core.specs.settings import Threat
from prune_core.specs.stages import Evaluation

from conftest import THREAT, dense_stage
from rows import names

IMAGES = torch.full((4, 1, 2, 2), 0.5)
STEP = {"linf": 1.0, "l2": 0.5}
"""Of every pixel, so that an image moves by 1 under the norm."""


class Constant(nn.Module):
    """Says class 0 of every image."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.tensor([1.0, 0.0]).expand(len(images), 2)


def attacked(norm: str, moved_by: float, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    monkeypatch.setattr("outside.MOVES_BY", moved_by * STEP[norm])
    network, labels = Constant(), torch.zeros(4, dtype=torch.long)
    threat = Threat(norm=norm, eps=0.25)
    return attack(network, network, IMAGES, labels, "outside:moves", threat)


@pytest.mark.parametrize("norm", STEP)
def test_an_attack_may_go_to_the_end_of_its_ball_and_no_further(
    norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = attacked(norm, 0.25, monkeypatch)
    assert torch.allclose(moved - IMAGES, torch.tensor(0.25 * STEP[norm]))
    with pytest.raises(
        RuntimeError, match=r"left its ball: a change of 0\.25[01]\d* exceeds the radius 0\.25"
    ):
        attacked(norm, 0.251, monkeypatch)


def test_an_attack_may_not_leave_the_range_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outside.MOVES_BY", 0.1)
    network, labels = Constant(), torch.zeros(4, dtype=torch.long)
    with pytest.raises(RuntimeError, match="left the range of pixels"):
        attack(network, network, IMAGES + 0.45, labels, "outside:moves", Threat(eps=0.25))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(
    "name", [n for n in names("attacks") if n not in ("square", "autoattack", "cw", "clean")]
)
def test_attacks_of_twins_take_images_of_several_colours(
    name: str, norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A twin works channels-last on CPUs, and so come its gradients."""
    monkeypatch.setattr(nearest, "TRIAL_STEPS", 10)
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4)
    ).eval()
    images = torch.rand(5, 3, 8, 8)
    labels = network(images).argmax(1)
    threat = Threat(norm=norm, eps=0.3 if norm == "linf" else 3.0)
    found = attack(network, Twin(network), images, labels, name, threat)
    assert "unbounded" in ATTACKS[name].traits or not right(network, found, labels).all()


@pytest.mark.parametrize(
    "name", [n for n in names("attacks") if n not in ("square", "autoattack", "cw")]
)
def test_a_twin_is_what_its_network_is_after_any_attack(name: str) -> None:
    """Torchattacks puts networks back into the mode that they seem to have been in."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Dropout(), nn.Linear(144, 4)
    ).eval()
    network[0].running_mean.fill_(0.4)
    twin, images = Twin(network), torch.rand(5, 3, 8, 8)
    with torch.no_grad():
        labels = network(images).argmax(1)
        attack(network, twin, images, labels, name, Threat(eps=0.01))
        twin.train()  # as an attack of the user's may do
        torch.testing.assert_close(twin(images), network(images))


class Nonempty(nn.Module):
    """A linear network that takes no batch without images, as timm's MobileViT."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(48, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if not len(images):
            raise RuntimeError("no images")
        return self.linear(images.flatten(1))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", [n for n in names("attacks") if n not in ("cw", "clean")])
def test_no_network_is_asked_about_no_images(
    name: str, norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every image is lost at once, and what an attack does after that needs no image."""
    monkeypatch.setattr(nearest, "TRIAL_STEPS", 10)
    torch.manual_seed(0)
    network, images = Nonempty().eval(), torch.rand(5, 3, 4, 4)
    with torch.no_grad():
        labels = network(images).argmax(1)
    threat = Threat(norm=norm, eps=0.9 if norm == "linf" else 6.0)
    found = attack(network, Twin(network), images, labels, name, threat)
    if not {"unbounded", "nearest"} & set(ATTACKS[name].traits):
        assert not right(network, found, labels).any()


def test_an_attack_that_cheats_is_an_error(
    trained: nn.Module, digits: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prune_core.attacks.attacks.fgsm", lambda net, images, *rest: images + 0.5)
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
