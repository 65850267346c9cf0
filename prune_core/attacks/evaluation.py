"""Evaluation: which test images a network classifies correctly, clean and under attack.

A network is attacked through its `Twin`, which computes the same function faster, but the network
itself decides whether an attacked image is classified correctly. An image that it misclassifies
without an attack is not attacked.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prune_core.attacks.norms import NORMS, each
from prune_core.data.splits import Split
from prune_core.errors import CheckpointError, DivergedError
from prune_core.models.folding import Twin
from prune_core.models.state import evaluating, seeded
from prune_core.specs.checkpoints import Checkpoint
from prune_core.specs.keys import derive_seed
from prune_core.specs.registry import ATTACKS
from prune_core.specs.settings import Threat
from prune_core.specs.stages import Evaluation

POINT = 0.01
"""What a checkpoint's accuracy may differ from the expected one: files are stated in points."""
BATCH = 512
"""Random starts depend on it: if it changes, `Evaluation` needs a new version."""


@dataclass(frozen=True)
class Outcome:
    """One attack on one network.

    Attributes:
        correct: For each test image, in their order, whether it is classified correctly.
        seconds: How long it took.
        distances: Of an attack with the trait ``nearest``, to each image's nearest misclassified
            one: 0 where it is misclassified itself, infinite where none was found.
    """

    correct: tuple[bool, ...]
    seconds: float
    distances: tuple[float, ...] | None = None

    @property
    def accuracy(self) -> float:
        """The share of images that are classified correctly."""
        return sum(self.correct) / len(self.correct)


def evaluate(
    network: nn.Module, test: Split, stage: Evaluation, twin: Twin | None = None
) -> Outcome:
    """Attack every test image once.

    Args:
        network: The network; it stays as it is.
        test: The images and their labels.
        stage: The attack and its threat; random starts derive from its key.
        twin: The network's twin, if another evaluation has made one already.
    """
    start = time.perf_counter()
    seed = derive_seed(stage.key, "attack")
    correct: list[bool] = []
    distances: list[float] = []
    with evaluating(network), seeded(seed, test.labels.device):
        if twin is None or ATTACKS.outside(stage.attack):  # a user's own may change what it attacks
            twin = Twin(network)
        for images, labels in test.batches(BATCH):
            attacked = _attacked(network, twin, images, labels, stage.attack, stage.threat)
            hits = _counted(network, attacked, labels)
            if stage.threat and _is_nearest(stage.attack):
                lengths = NORMS[stage.threat.norm].length(attacked - images)
                distances += torch.where(hits, torch.inf, lengths).tolist()
                hits |= lengths > stage.threat.eps
            correct += hits.tolist()
    seconds = time.perf_counter() - start
    return Outcome(tuple(correct), seconds, tuple(distances) or None)


def attack(
    network: nn.Module, twin: nn.Module, images: Tensor, labels: Tensor, name: str,
    threat: Threat | None,
) -> Tensor:  # fmt: skip
    """Return one attacked batch; images that are misclassified already stay as they are.

    Args:
        network: Decides which images are classified correctly.
        twin: The copy of it that is attacked.
        images: [n, c, h, w] in [0,1].
        labels: [n].
        name: The name of the attack.
        threat: The norm and the radius; None for attacks that need no threat.

    Returns:
        Images [n, c, h, w] in [0,1].

    Raises:
        RuntimeError: If the attack leaves the ball of the threat or [0,1]. Every attack is checked.
    """
    attacked = _attacked(network, twin, images, labels, name, threat)
    return within(attacked, images, threat) if threat and _is_nearest(name) else attacked


def within(attacked: Tensor, images: Tensor, threat: Threat) -> Tensor:
    """Return attacked images, but the original of each that is outside the ball."""
    near = NORMS[threat.norm].length(attacked - images) <= threat.eps
    return torch.where(each(near), attacked, images)


def _is_nearest(name: str) -> bool:
    """Say whether an attack looks for the nearest misclassified image, in the ball or not.

    One among several (``A+B``) keeps to the ball.
    """
    return "nearest" in ATTACKS[name].traits and "then" not in ATTACKS.arguments(name)


def _attacked(
    network: nn.Module, twin: nn.Module, images: Tensor, labels: Tensor, name: str,
    threat: Threat | None,
) -> Tensor:  # fmt: skip
    """Return what an attack makes of a batch, checked; an attack with ``nearest`` has no ball."""
    method = ATTACKS.load(name)
    if "unbounded" in ATTACKS[name].traits:
        attacked: Tensor = method(twin, images, labels.clone(), threat)  # the data set's own
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
    """Return for each image [n] whether a network in eval mode classifies it correctly."""
    hits: Tensor = network(images).argmax(1) == labels
    return hits


@torch.no_grad()
def _counted(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return what `right` does, for an accuracy that is reported.

    Raises:
        DivergedError: Logits are not numbers; the first of them would count as the largest.
    """
    logits: Tensor = network(images)
    if broken := int(logits.isnan().any(1).sum()):
        raise DivergedError(f"the logits of {broken} of {len(images)} images are not numbers")
    return logits.argmax(1) == labels


def accuracy(network: nn.Module, split: Split) -> float:
    """Return the share of a split that is classified correctly without an attack."""
    with evaluating(network):
        hits = sum(int(_counted(network, *batch).sum()) for batch in split.batches(BATCH))
    return hits / len(split)


def check_expected(network: nn.Module, test: Split, checkpoint: Checkpoint) -> None:
    """Check that a network from a checkpoint is as accurate as it is known to be, within a point.

    Raises:
        CheckpointError: It is not: most often it is normalised twice, not at all, or otherwise.
    """
    if checkpoint.expect is None:
        return
    clean, known = accuracy(network, test), checkpoint.expect.clean
    if abs(clean - known) > POINT + 1e-9:
        raise CheckpointError(
            f"{checkpoint.file} classifies {clean:.1%} of the {len(test)} test images rightly, and "
            f"expect.clean is {known:.1%}: is normalise what it was trained with, and are these "
            "its images and classes, in its order?"
        )


def _check(attacked: Tensor, images: Tensor, name: str, threat: Threat | None) -> None:
    """Raise if attacked images leave the ball or [0,1]: that is an error and not a result."""
    slack = 1e-6
    if attacked.shape != images.shape or not attacked.isfinite().all():
        raise RuntimeError(
            f"attack {name!r} must return finite images of shape {tuple(images.shape)}; "
            f"it returned shape {tuple(attacked.shape)}"
        )
    bounded = "unbounded" not in ATTACKS[name].traits and not _is_nearest(name)
    radius = threat.eps if threat else 0.0
    length = NORMS[threat.norm if threat else "linf"].length(attacked - images).max()
    if bounded and length > radius * (1 + 1e-5) + slack:
        raise RuntimeError(
            f"attack {name!r} left its ball: a change of {float(length):.6f} exceeds the radius "
            f"{radius}"
        )
    if attacked.min() < -slack or attacked.max() > 1 + slack:
        raise RuntimeError(f"attack {name!r} left the range of pixels, [0,1]")
