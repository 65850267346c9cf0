"""Objectives beside their authors' code: one step from the same attacked images."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from authors import CPU, Row, apart, functions_of
from prune_core.data import datasets
from prune_core.models import architectures
from prune_core.models.state import seeded
from prune_core.specs.recipes import Training
from prune_core.specs.registry import OBJECTIVES
from prune_core.specs.settings import Dataset
from prune_core.training.objectives import Context


def trades(originals: Path) -> Iterator[Row]:
    """Loss, gradient and BatchNorm's statistics of one step, from the same attacked images."""
    theirs = functions_of(
        originals / "TRADES" / "trades.py",
        "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"
        "from torch.autograd import Variable\nimport torch.optim as optim",
        {".cuda()": "", "size_average=False": "reduction='sum'"},
    )
    data = datasets.load(Dataset(name="digits"), CPU)
    images, labels = data.train.batch(slice(0, 64))
    network = architectures.build("resnet8", data.shape, data.classes, data.mean, data.std, 0)
    other = copy.deepcopy(network).train()
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    passed: list[Tensor] = []

    def noted(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if module.training:
            passed.append(inputs[0].detach())  # clean, attacked, clean

    other.register_forward_pre_hook(noted)
    with seeded(0, CPU):
        loss = theirs.trades_loss(other, images, labels, optimizer, 0.02, 0.15, 3, 6.0)
    loss.backward()
    recipe = Training(objective="trades", epochs=1, lr=0.1).resolved()
    network.train()
    mine, _ = OBJECTIVES.load("trades")(
        network, images, labels, Context(recipe, lambda *_: passed[1])
    )
    mine.backward()
    yield "trades: loss, relative difference", f"{abs(float((mine / loss).detach()) - 1):.1e}"
    pairs = zip(network.parameters(), other.parameters(), strict=True)
    worst = max(apart(a.grad, b.grad) for a, b in pairs if b.grad is not None)
    yield "trades: gradient, largest relative difference of a tensor", f"{worst:.1e}"
    buffers = zip(network.buffers(), other.buffers(), strict=True)
    worst = max(apart(a.float(), b.float()) for a, b in buffers)
    yield "trades: BatchNorm's statistics, the same", f"{worst:.1e}"
