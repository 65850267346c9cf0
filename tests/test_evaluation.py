"""Evaluation trusts no attack: what leaves the ball or the range of images is an error."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from prune_core.attacks.evaluation import attack
from prune_core.specs.settings import Threat

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
