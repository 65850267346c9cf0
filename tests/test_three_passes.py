"""TRADES against its authors' loss, written out: value, gradient, and BatchNorm's statistics."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_core.specs.recipes import Training
from prune_core.specs.registry import OBJECTIVES
from prune_core.training.objectives import Context


def authors(network: nn.Module, images: Tensor, attacked: Tensor, labels: Tensor) -> Tensor:
    """Three passes, as in their `trades_loss`; beta is 6."""
    natural = F.cross_entropy(network(images), labels)
    robust, clean = network(attacked).log_softmax(1), network(images).softmax(1)
    return natural + 6.0 * F.kl_div(robust, clean, reduction="sum") / len(images)


def test_trades_is_that_of_its_authors() -> None:
    draw = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    ours = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 5)
    ).train()
    theirs = copy.deepcopy(ours)
    images = torch.rand(16, 3, 8, 8, generator=draw)
    attacked = (images + 0.3 * torch.rand(images.shape, generator=draw)).clamp(0, 1)
    labels = torch.arange(16) % 5
    context = Context(Training(objective="trades", epochs=1, lr=0.1).resolved(),
                      lambda *_: attacked)  # fmt: skip
    loss, _ = OBJECTIVES.load("trades")(ours, images, labels, context)
    right = authors(theirs, images, attacked, labels)
    loss.backward()
    right.backward()
    torch.testing.assert_close(loss, right)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)
    for mine, other in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(mine, other)
