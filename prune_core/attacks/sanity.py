"""Sanity checks against false robustness: some attacks must be at least as strong as others.

If one is not, gradients mislead the attacks, and the accuracy that they report is too high (Athalye
et al., 2018, arXiv 1802.00420; Carlini et al., 2019, arXiv 1902.06705). Each check compares two
attacks on the same images. It fails if the attack that must be stronger leaves significantly more
images correct: by an exact one-sided sign test, on the images where the two differ, at a level of
0.001. About one in a thousand sound networks therefore fails a check by chance.
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
from prune_core.data.draws import drawn
from prune_core.data.splits import Split
from prune_core.models.folding import Twin
from prune_core.models.state import evaluating, seeded
from prune_core.specs.keys import derive_seed
from prune_core.specs.settings import Threat
from prune_core.specs.stages import Sanity

SIGNIFICANT = 0.001
"""The level of the sign test."""
STEPS = 10
"""The steps of PGD."""
QUERIES = 100
"""The queries of the black-box attack."""


@dataclass(frozen=True)
class Check:
    """One check of one network.

    Attributes:
        check: The name of the check.
        stronger: The attack that must be at least as strong.
        weaker: The attack that it is compared with.
        stronger_accuracy: The accuracy under the first, as a share of the images.
        weaker_accuracy: The accuracy under the second, on the same images.
        images: The number of images.
        passed: Whether the check passed.
    """

    check: str
    stronger: str
    weaker: str
    stronger_accuracy: float
    weaker_accuracy: float
    images: int
    passed: bool


class _Probe:
    """The outcomes of attacks on one network, each computed once: [n], true for correct."""

    def __init__(self, network: nn.Module, dense: nn.Module, test: Split, threat: Threat):
        self.network, self.dense, self.threat = network, dense, threat
        self.images, self.labels = test.batch(slice(None))
        self._twin = Twin(network)
        self._known: dict[str, Tensor] = {}

    def under(self, name: str, threat: Threat | None = None) -> Tensor:
        """Return which images [n] are classified correctly under an attack."""
        threat = threat or self.threat
        if (known := f"{name} at {threat.eps}") not in self._known:
            attacked = attack(self.network, self._twin, self.images, self.labels, name, threat)
            self._known[known] = right(self.network, attacked, self.labels)
        return self._known[known]

    @cached_property
    def transferred(self) -> Tensor:
        """Which images [n] are correct, both clean and when attacked on the dense network."""
        size = step_size(self.threat, STEPS)
        twin = Twin(self.dense)
        moved = ascend(twin, self.images, self.labels, self.threat, STEPS, size)
        return right(self.network, moved, self.labels) & right(
            self.network, self.images, self.labels
        )


Finding = tuple[str, str, Tensor, Tensor]
"""The stronger attack, the weaker attack, and which images [n] each of them leaves correct."""


def iterated(probe: _Probe) -> Finding:
    """PGD of 10 steps must be as strong as one step."""
    return f"pgd-{STEPS}", "fgsm", probe.under(f"pgd-{STEPS}"), probe.under("fgsm")


def more_steps(probe: _Probe) -> Finding:
    """PGD of twice the steps must be as strong as PGD."""
    names = f"pgd-{2 * STEPS}", f"pgd-{STEPS}"
    return *names, probe.under(names[0]), probe.under(names[1])


def black_box(probe: _Probe) -> Finding:
    """PGD, which sees gradients, must be as strong as a search without gradients."""
    names = f"pgd-{STEPS}", f"square-{QUERIES}"
    return *names, probe.under(names[0]), probe.under(names[1])


def transfer(probe: _Probe) -> Finding:
    """PGD on the network itself must be as strong as PGD on the dense network."""
    name = f"pgd-{STEPS}"
    return name, f"{name} on the dense network", probe.under(name), probe.transferred


def large_eps(probe: _Probe) -> Finding:
    """PGD that may reach any image must leave no more images correct than a constant guess."""
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
    """Run every check on a sample of the test split.

    Args:
        network: The network to check; it stays as it is.
        dense: The dense network that it was pruned from; it stays as it is.
        test: The test split.
        stage: The threat and the number of images; its key decides which they are.
    """
    some = test.take(drawn(test.labels, stage.images, derive_seed(stage.key, "images")))
    seed = derive_seed(stage.key, "sanity")
    with evaluating(network), evaluating(dense), seeded(seed, test.labels.device):
        probe = _Probe(network, dense, some, stage.threat)
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
    """Return the probability of at least ``more`` heads in ``more + fewer`` fair tosses."""
    tosses = more + fewer
    ways = sum(math.comb(tosses, heads) for heads in range(more, tosses + 1))
    return float(ways / 2**tosses)


def whole_image(threat: Threat, images: Tensor) -> Threat:
    """Return a threat with a radius that reaches every image in [0,1]."""
    pixels = images[0].numel()
    return Threat(norm=threat.norm, eps=1.0 if threat.norm == "linf" else math.sqrt(pixels))
