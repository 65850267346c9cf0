"""Sanity checks against false robustness: some attacks must be at least as strong as others.

If one is not, gradients mislead the attacks, and the accuracy that they report is too high (Athalye
et al., 2018, arXiv 1802.00420; Carlini et al., 2019, arXiv 1902.06705). Each check compares two
attacks on the same images. It fails if the attack that must be stronger leaves significantly more
images correct: by an exact one-sided sign test, on the images where the two differ, at a level of
0.001. About one in a thousand sound networks therefore fails a check by chance.

Only images that the stronger attack leaves and the weaker one breaks speak against a network, and
it takes `NEEDED` of them to fail. So of the two attacks the one that is not known yet runs on the
images that may be such, and on the others only where that many are: what is decided is the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prune_core.attacks.evaluation import attack, right
from prune_core.attacks.pgd import ascend, step_size
from prune_core.data.splits import Split, drawn
from prune_core.models.folding import Twin
from prune_core.models.state import evaluating, seeded
from prune_core.specs.keys import derive_seed
from prune_core.specs.settings import Threat
from prune_core.specs.stages import Sanity

SIGNIFICANT = 0.001
"""The level of the sign test."""
NEEDED = math.floor(-math.log2(SIGNIFICANT)) + 1
"""The fewest images that can fail a check: so many heads in as many tosses."""
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
        against: The images that the stronger attack leaves correct and the weaker one breaks; None
            where so few can be such that the check cannot fail.
        images: The number of images.
        passed: Whether the check passed.
    """

    check: str
    stronger: str
    weaker: str
    against: int | None
    images: int
    passed: bool


Attacked = Callable[[Tensor], Tensor]
"""From some images, as a mask [n], to which of them an attack leaves correct; false elsewhere."""


class _Probe:
    """A network, its dense network, and what PGD makes of the images."""

    def __init__(self, network: nn.Module, dense: nn.Module, test: Split, threat: Threat):
        self.network, self.dense, self.threat = network, dense, threat
        self.images, self.labels = test.batch(slice(None))
        self._twin = Twin(network)
        self.pgd = self.under(f"pgd-{STEPS}")(torch.ones_like(self.labels, dtype=torch.bool))

    def under(self, name: str, threat: Threat | None = None) -> Attacked:
        """Return an attack on the network."""

        def attacked(some: Tensor) -> Tensor:
            images, labels = self.images[some], self.labels[some]
            found = attack(self.network, self._twin, images, labels, name, threat or self.threat)
            return spread(some, right(self.network, found, labels))

        return attacked

    def transferred(self, some: Tensor) -> Tensor:
        """Attack the dense network; correct are images that the network has right before too."""
        images, labels = self.images[some], self.labels[some]
        moved = ascend(
            Twin(self.dense), images, labels, self.threat, STEPS, step_size(self.threat, STEPS)
        )
        both = right(self.network, moved, labels) & right(self.network, images, labels)
        return spread(some, both)


def spread(some: Tensor, correct: Tensor) -> Tensor:
    """Return a mask over all images [n] of what holds of some of them."""
    whole = torch.zeros_like(some)
    whole[some] = correct
    return whole


@dataclass(frozen=True)
class Pair:
    """Two attacks, of which the outcome of one is known.

    Attributes:
        stronger: What it is called.
        weaker: What it is called.
        known: Which images [n] it leaves correct: the stronger, or else the weaker.
        other: The other attack.
        knows_stronger: Which of the two is known.
    """

    stronger: str
    weaker: str
    known: Tensor
    other: Attacked
    knows_stronger: bool = True

    def against(self, some: Tensor) -> tuple[int, int]:
        """Count images, of some, that only the stronger leaves, and that only the weaker does."""
        known, other = self.known & some, self.other(some)
        only_known, only_other = int((known & ~other).sum()), int((other & ~known).sum())
        return (only_known, only_other) if self.knows_stronger else (only_other, only_known)


def iterated(probe: _Probe) -> Pair:
    """PGD of 10 steps must be as strong as one step."""
    return Pair(f"pgd-{STEPS}", "fgsm", probe.pgd, probe.under("fgsm"))


def more_steps(probe: _Probe) -> Pair:
    """PGD of twice the steps must be as strong as PGD."""
    names = f"pgd-{2 * STEPS}", f"pgd-{STEPS}"
    return Pair(*names, probe.pgd, probe.under(names[0]), knows_stronger=False)


def black_box(probe: _Probe) -> Pair:
    """PGD, which sees gradients, must be as strong as a search without gradients."""
    names = f"pgd-{STEPS}", f"square-{QUERIES}"
    return Pair(*names, probe.pgd, probe.under(names[1]))


def transfer(probe: _Probe) -> Pair:
    """PGD on the network itself must be as strong as PGD on the dense network."""
    name = f"pgd-{STEPS}"
    return Pair(name, f"{name} on the dense network", probe.pgd, probe.transferred)


def large_eps(probe: _Probe) -> Pair:
    """PGD that may reach any image must leave no more images correct than a constant guess."""
    name = f"pgd-{STEPS}"
    anywhere = probe.under(name, whole_image(probe.threat, probe.images))
    guess = probe.labels == torch.bincount(probe.labels).argmax()
    return Pair(f"{name}, any image", "a constant guess", guess, anywhere, knows_stronger=False)


CHECKS: dict[str, Callable[[_Probe], Pair]] = {
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
        pair = make(probe)
        passed, against = _decided(pair)
        yield Check(name, pair.stronger, pair.weaker, against, len(probe.labels), passed)


def _decided(pair: Pair) -> tuple[bool, int | None]:
    """Return whether a check passed, and how many images spoke against the network."""
    speaking = pair.known if pair.knows_stronger else ~pair.known
    if int(speaking.sum()) < NEEDED:
        return True, None
    more, fewer = pair.against(speaking)
    if more >= NEEDED:
        fewer += pair.against(~speaking)[1]
    return sign_test(more, fewer) >= SIGNIFICANT, more


def sign_test(more: int, fewer: int) -> float:
    """Return the probability of at least ``more`` heads in ``more + fewer`` fair tosses."""
    tosses = more + fewer
    ways = sum(math.comb(tosses, heads) for heads in range(more, tosses + 1))
    return float(ways / 2**tosses)


def whole_image(threat: Threat, images: Tensor) -> Threat:
    """Return a threat with a radius that reaches every image in [0,1]."""
    pixels = images[0].numel()
    return Threat(norm=threat.norm, eps=1.0 if threat.norm == "linf" else math.sqrt(pixels))
