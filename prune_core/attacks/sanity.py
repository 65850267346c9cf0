"""Sanity checks against false robustness: attacks that must not be weaker than others.

Where one is, gradients mislead the attacks, and the accuracy that they report is too high (Athalye
et al., 2018, arXiv 1802.00420; Carlini et al., 2019, arXiv 1902.06705). Each check compares, on the
same images, an attack that must be at least as strong with one that it must match. It fails where
the stronger leaves significantly more images right: an exact one-sided sign test on the images on
which the two differ, at 0.001, so that of a thousand sound networks about one fails by chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from prune_core.attacks.evaluation import attack, right
from prune_core.attacks.pgd import ascend, step_size
from prune_core.data.splits import Split
from prune_core.models.folding import Twin
from prune_core.models.state import evaluating, seeded
from prune_core.specs.keys import derive_seed
from prune_core.specs.settings import Threat
from prune_core.specs.stages import Sanity

SIGNIFICANT = 0.001
STEPS = 10
QUERIES = 100


@dataclass(frozen=True)
class Check:
    """One check of one network; accuracies are shares of the same images."""

    check: str
    stronger: str
    """The attack that must be at least as strong."""
    weaker: str
    stronger_accuracy: float
    weaker_accuracy: float
    images: int
    passed: bool


class _Probe:
    """The outcomes of attacks on one network, each computed once, [n] right or wrong."""

    def __init__(self, network: nn.Module, dense: nn.Module, test: Split, threat: Threat):
        self.network, self.dense, self.threat = network, dense, threat
        self.images, self.labels = test.batch(slice(None))
        self._twin = Twin(network)
        self._known: dict[str, Tensor] = {}

    def under(self, name: str, threat: Threat | None = None) -> Tensor:
        """Return what is right after an attack."""
        threat = threat or self.threat
        if (known := f"{name} at {threat.eps}") not in self._known:
            attacked = attack(self.network, self._twin, self.images, self.labels, name, threat)
            self._known[known] = right(self.network, attacked, self.labels)
        return self._known[known]

    @cached_property
    def transferred(self) -> Tensor:
        """What is right on images attacked against the dense network."""
        size = step_size(self.threat, STEPS)
        twin = Twin(self.dense)
        moved = ascend(twin, self.images, self.labels, self.threat, STEPS, size)
        return right(self.network, moved, self.labels) & right(
            self.network, self.images, self.labels
        )


Finding = tuple[str, str, Tensor, Tensor]


def iterated(probe: _Probe) -> Finding:
    """PGD of 10 steps against one step."""
    return f"pgd-{STEPS}", "fgsm", probe.under(f"pgd-{STEPS}"), probe.under("fgsm")


def more_steps(probe: _Probe) -> Finding:
    """PGD of twice the steps against PGD."""
    names = f"pgd-{2 * STEPS}", f"pgd-{STEPS}"
    return *names, probe.under(names[0]), probe.under(names[1])


def black_box(probe: _Probe) -> Finding:
    """PGD, which sees gradients, against a search that sees none."""
    names = f"pgd-{STEPS}", f"square-{QUERIES}"
    return *names, probe.under(names[0]), probe.under(names[1])


def transfer(probe: _Probe) -> Finding:
    """PGD on the network itself against images made on the dense one."""
    name = f"pgd-{STEPS}"
    return name, f"{name} on the dense network", probe.under(name), probe.transferred


def large_eps(probe: _Probe) -> Finding:
    """PGD that may paint any image against a guess: it must leave at most chance."""
    threat = whole_image(probe.threat, probe.images)
    after = probe.under(f"pgd-{STEPS}", threat)
    counts = torch.bincount(probe.labels)
    guess = probe.labels == counts.argmax()
    return f"pgd-{STEPS}, any image", "a constant guess", after, guess


CHECKS: dict[str, Callable[[_Probe], Finding]] = {
    "iterated": iterated,
    "more-steps": more_steps,
    "black-box": black_box,
    "transfer": transfer,
    "large-eps": large_eps,
}


def check(network: nn.Module, dense: nn.Module, test: Split, stage: Sanity) -> list[Check]:
    """Make every check on the first images of the test split; networks stay as they are.

    Args:
        network: The network that is checked.
        dense: The one that it descends from.
        test: The test split.
        stage: The threat, and how many images are looked at.
    """
    first = Split(test.images[: stage.images], test.labels[: stage.images])
    seed = derive_seed(stage.key, "sanity")
    with evaluating(network), evaluating(dense), seeded(seed, test.labels.device):
        probe = _Probe(network, dense, first, stage.threat)
        return list(_made(probe))


def _made(probe: _Probe) -> Iterator[Check]:
    for name, make in CHECKS.items():
        strong, weak, after_strong, after_weak = make(probe)
        more = int((after_strong & ~after_weak).sum())
        fewer = int((after_weak & ~after_strong).sum())
        yield Check(
            check=name,
            stronger=strong,
            weaker=weak,
            stronger_accuracy=float(after_strong.float().mean()),
            weaker_accuracy=float(after_weak.float().mean()),
            images=len(after_strong),
            passed=sign_test(more, fewer) >= SIGNIFICANT,
        )


def sign_test(more: int, fewer: int) -> float:
    """Return the odds of ``more`` or more heads among ``more + fewer`` tosses of a fair coin."""
    tosses = more + fewer
    ways = sum(math.comb(tosses, heads) for heads in range(more, tosses + 1))
    return float(ways / 2**tosses)


def whole_image(threat: Threat, images: Tensor) -> Threat:
    """Return a threat under which every image of the range can be reached."""
    pixels = images[0].numel()
    return Threat(norm=threat.norm, eps=1.0 if threat.norm == "linf" else math.sqrt(pixels))
