"""Evaluation: which test images a network gets right, clean and under attack.

A network is attacked through its `Twin`, which computes the same function faster, and judged
itself. An image that it gets wrong without an attack is lost, and is not attacked.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prune_core.attacks.norms import NORMS
from prune_core.data.splits import Split
from prune_core.models.folding import Twin
from prune_core.models.state import evaluating, seeded
from prune_core.specs.keys import derive_seed
from prune_core.specs.registry import ATTACKS
from prune_core.specs.settings import Threat
from prune_core.specs.stages import Evaluation

BATCH = 512
"""Part of what an attack's random start depends on: a change needs a new version of Evaluation."""


@dataclass(frozen=True)
class Outcome:
    """One attack on one network: right or wrong for every test image, in their order."""

    correct: tuple[bool, ...]
    seconds: float

    @property
    def accuracy(self) -> float:
        """The share of images still classified rightly."""
        return sum(self.correct) / len(self.correct)


def evaluate(
    network: nn.Module, test: Split, stage: Evaluation, twin: Twin | None = None
) -> Outcome:
    """Attack every test image once; the network is left as it was.

    Args:
        network: The network that is judged.
        test: The images and their labels.
        stage: The attack and its threat.
        twin: The network's, where one has been made for another evaluation already.
    """
    start = time.perf_counter()
    seed = derive_seed(stage.key, "attack")
    correct: list[bool] = []
    with evaluating(network), seeded(seed, test.labels.device):
        twin = Twin(network) if twin is None else twin
        for images, labels in test.batches(BATCH):
            attacked = attack(network, twin, images, labels, stage.attack, stage.threat)
            correct += right(network, attacked, labels).tolist()
    return Outcome(tuple(correct), time.perf_counter() - start)


def attack(
    network: nn.Module, twin: nn.Module, images: Tensor, labels: Tensor, name: str,
    threat: Threat | None,
) -> Tensor:  # fmt: skip
    """Return one batch attacked; what is wrong already is left as it is.

    Args:
        network: Says which images are still right.
        twin: What the attack sees of it.
        images: [n, c, h, w] in [0,1].
        labels: [n].
        name: The attack's.
        threat: None for attacks that need none.

    Raises:
        RuntimeError: Where an attack breaks its threat: none is trusted.
    """
    method = ATTACKS.load(name)
    if "unbounded" in ATTACKS[name].traits:
        attacked: Tensor = method(twin, images, labels, threat)
        _check(attacked, images, name, None)
        return attacked
    attacked = images.clone()
    alive = right(network, images, labels)
    if alive.any():
        attacked[alive] = method(twin, images[alive], labels[alive], threat)
    _check(attacked, images, name, threat)
    return attacked


@torch.no_grad()
def right(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Say which images [n] a network in eval mode gets right."""
    hits: Tensor = network(images).argmax(1) == labels
    return hits


def accuracy(network: nn.Module, split: Split) -> float:
    """Return the share of a split that is classified rightly, without an attack."""
    with evaluating(network):
        hits = sum(int(right(network, *batch).sum()) for batch in split.batches(BATCH))
    return hits / len(split)


def _check(attacked: Tensor, images: Tensor, name: str, threat: Threat | None) -> None:
    """Trust no attack: what leaves the ball or the range of images is an error, not a result."""
    slack = 1e-6
    if attacked.shape != images.shape or not attacked.isfinite().all():
        raise RuntimeError(f"attack {name!r} returned what are no images")
    bounded = "unbounded" not in ATTACKS[name].traits
    radius = threat.eps if threat else 0.0
    length = NORMS[threat.norm if threat else "linf"].length(attacked - images).max()
    if bounded and length > radius * (1 + 1e-5) + slack:
        raise RuntimeError(
            f"attack {name!r} left its ball: {float(length):.6f} is beyond the radius {radius}"
        )
    if attacked.min() < -slack or attacked.max() > 1 + slack:
        raise RuntimeError(f"attack {name!r} left the range of images, [0,1]")
