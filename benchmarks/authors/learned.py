"""What the comparisons of learned scores share: a robust network of four layers, on digits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from authors import CPU
from prune_core.data import datasets
from prune_core.models.state import seeded
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.prunable.groups import PrunableModule
from prune_core.specs.recipes import Training
from prune_core.specs.settings import Dataset, PruningRules, Threat
from prune_core.specs.stages import Dense, Scores
from prune_core.training import loop as training

LAYERS = ("0", "3", "6", "11")
THREAT = Threat(eps=0.15)
TORCH = "import math\nimport torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"


def four_layers(conv: type[nn.Conv2d], linear: type[nn.Linear]) -> nn.Sequential:
    """Return a network of their layers, or of torch's."""

    def block(before: int, width: int, stride: int) -> list[nn.Module]:
        layer = conv(before, width, 3, stride=stride, padding=1, bias=False)
        return [layer, nn.BatchNorm2d(width), nn.ReLU()]

    body = [*block(1, 16, 1), *block(16, 32, 2), *block(32, 64, 2)]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear(64, 10))


def adversarial_digits(
    criterion: str, kept: float
) -> tuple[datasets.Dataset, nn.Sequential, Sequence[PrunableModule], Scores]:
    """Return digits, a network trained adversarially on them, its weights, and what to learn."""
    data = datasets.load(Dataset(name="digits"), CPU)
    dense_stage = Dense(
        dataset=Dataset(name="digits"), architecture="resnet8", threat=THREAT, seed=0,
        training=Training(objective="pgd", epochs=10, lr=0.1, attack_steps=5).resolved(),
    )  # fmt: skip
    with seeded(0, CPU):
        dense = four_layers(nn.Conv2d, nn.Linear)
    training.fit(dense, data, dense_stage.training, THREAT, dense_stage.key)
    recipe = PruningRules().score_trainings[criterion]
    stage = Scores(network=dense_stage, criterion=criterion, unit="weight", sparsity=1 - kept,
                   training=recipe, threat=THREAT)  # fmt: skip
    return data, dense, prunable_view(dense, data.shape, "weight").modules, stage


@contextmanager
def noted(network: nn.Module) -> Iterator[list[Tensor]]:
    """Note what a network is given while it trains."""
    passed: list[Tensor] = []
    note = network.register_forward_pre_hook(
        lambda module, inputs: passed.append(inputs[0].detach()) if module.training else None
    )
    try:
        yield passed
    finally:
        note.remove()


def shared(one: dict[str, set[int]], other: dict[str, set[int]]) -> float:
    """Return the share of the weights kept by one that the other keeps too."""
    return sum(len(one[n] & other[n]) for n in LAYERS) / sum(len(one[n]) for n in LAYERS)
