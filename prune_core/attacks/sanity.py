"""Sanity checks against false robustness: some attacks must be at least as strong as others.

If one is not, gradients mislead the attacks, and the accuracy that they report is too high (Athalye
et al., 2018, arXiv 1802.00420; Carlini et al., 2019, arXiv 1902.06705). Each check compares two
attacks on the same images. It fails if the attack that must be stronger leaves significantly more
images correct: by an exact one-sided sign test, on the images where the two differ, at a level of
0.001. About one in a thousand sound networks therefore fails a check by chance.

The attack on trial is PGD-20, which most sweeps evaluate their networks by: what their evaluation
found on an image is not computed again.

Only images that the stronger attack leaves and the weaker one breaks speak against a network, and
it takes `NEEDED` of them to fail. So of the two attacks the one that is not known yet runs on the
images that may be such, until too few are left to make up that number, and on the others only where
that many are: what is decided is what all images would decide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prune_core.attacks.evaluation import attack, right
from prune_core.attacks.pgd import ascend, step_size
from prune_core.data.splits import Split, drawn
from prune_core.models.folding import Twin
from prune_core.models.state import evaluating, seeded
from prune_core.specs.keys import derive_seed
from prune_core.specs.registry import ATTACKS
from prune_core.specs.settings import Threat
from prune_core.specs.stages import Sanity

SIGNIFICANT = 0.001
"""The level of the sign test."""
NEEDED = math.floor(-math.log2(SIGNIFICANT)) + 1
"""The fewest images that can fail a check: so many heads in as many tosses."""
STEPS = 20
"""The steps of PGD; the weaker one has half of them."""
QUERIES = 100
"""The queries of the black-box attack."""


@dataclass(frozen=True)
class Check:
    """One check of one network.

    Attributes:
        check: The name of the check.
        stronger: The attack that must be at least as strong.
        weaker: The attack that it is compared with.
        against: The images that the stronger attack leaves correct and the weaker one breaks, among
            those that were attacked; None where so few can be such that none was.
        attacked: The images on which both attacks are known when the check is decided.
        images: The number of images.
        passed: Whether the check passed.
    """

    check: str
    stronger: str
    weaker: str
    against: int | None
    attacked: int
    images: int
    passed: bool


Attacked = Callable[[Tensor], Tensor]
"""From some images, as a mask [n], to which of them an attack leaves correct; false elsewhere."""


class _Probe:
    """A network, its dense network, and what PGD makes of the images."""

    def __init__(
        self,
        network: nn.Module,
        twin: Twin,
        dense: nn.Module,
        test: Split,
        threat: Threat,
        told: Mapping[str, Tensor],
    ):
        self.network, self.dense, self.threat = network, dense, threat
        lower = {trait for name in told for trait in ATTACKS[name].traits}
        precisions = (each for each in ("bfloat16", "tf32") if each in lower)
        self.precision = next(precisions, "float32")  # the lowest of the evaluation's attacks
        self.images, self.labels = test.batch(slice(None))
        self._twin, self._told = twin, told
        self.pgd = self.under(f"pgd-{STEPS}")(torch.ones_like(self.labels, dtype=torch.bool))

    def under(self, name: str, threat: Threat | None = None) -> Attacked:
        """Return an attack on the network."""
        if threat is None and name in self._told:
            return lambda some: self._told[name] & some

        def attacked(some: Tensor) -> Tensor:
            images, labels = self.images[some], self.labels[some]
            found = attack(self.network, self._twin, images, labels, name, threat or self.threat)
            return spread(some, right(self.network, found, labels))

        return attacked

    def transferred(self, some: Tensor) -> Tensor:
        """Attack the dense network; correct are images that the network has right before too."""
        images, labels = self.images[some], self.labels[some]
        size = step_size(self.threat, STEPS // 2)
        moved = ascend(Twin(self.dense), images, labels, self.threat, STEPS // 2, size)
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
    """PGD must be as strong as one step."""
    return Pair(f"pgd-{STEPS}", "fgsm", probe.pgd, probe.under("fgsm"))


def more_steps(probe: _Probe) -> Pair:
    """PGD must be as strong as PGD of half the steps."""
    names = f"pgd-{STEPS}", f"pgd-{STEPS // 2}"
    return Pair(*names, probe.pgd, probe.under(names[1]))


def black_box(probe: _Probe) -> Pair:
    """PGD, which sees gradients, must be as strong as a search without gradients."""
    names = f"pgd-{STEPS}", f"square-{QUERIES}"
    return Pair(*names, probe.pgd, probe.under(names[1]))


def transfer(probe: _Probe) -> Pair:
    """PGD on the network itself must be as strong as PGD of half the steps on the dense network."""
    weaker = f"pgd-{STEPS // 2} on the dense network"
    return Pair(f"pgd-{STEPS}", weaker, probe.pgd, probe.transferred)


def large_eps(probe: _Probe) -> Pair:
    """PGD that may reach any image must leave no more images correct than a constant guess."""
    name = f"pgd-{STEPS // 2}"
    anywhere = probe.under(name, whole_image(probe.threat, probe.images))
    guess = probe.labels == torch.bincount(probe.labels).argmax()
    return Pair(f"{name}, any image", "a constant guess", guess, anywhere, knows_stronger=False)


def precision(probe: _Probe) -> Pair:
    """PGD in the lowest precision of the evaluation must be as strong as PGD in float32."""
    names = f"{probe.precision}:pgd-{STEPS}", f"pgd-{STEPS}"
    return Pair(*names, probe.pgd, probe.under(names[0]), knows_stronger=False)


CHECKS: dict[str, Callable[[_Probe], Pair]] = {
    "iterated": iterated,
    "more-steps": more_steps,
    "black-box": black_box,
    "transfer": transfer,
    "large-eps": large_eps,
    "precision": precision,
}


def check(
    network: nn.Module,
    dense: nn.Module,
    test: Split,
    stage: Sanity,
    told: Mapping[str, Sequence[bool]] | None = None,
    twin: Twin | None = None,
) -> list[Check]:
    """Run every check on a sample of the test split.

    Args:
        network: The network to check; it stays as it is.
        dense: The dense network that it was pruned from; it stays as it is.
        test: The test split.
        stage: The threat and the number of images; its key decides which they are.
        told: By each attack that the stage says was evaluated, which test images [n] it left right.
        twin: The network's twin, if an evaluation has made one already.
    """
    place = drawn(test.labels, stage.images, derive_seed(stage.key, "images"))
    device = test.labels.device
    seen = {name: torch.tensor((told or {})[name], device=device)[place] for name in stage.told}
    with evaluating(network), evaluating(dense), seeded(derive_seed(stage.key, "sanity"), device):
        twin = Twin(network) if twin is None else twin
        sample = test.take(place)
        probe = _Probe(network, twin, dense, sample, stage.threat, seen)
        return list(_made(probe))


def _made(probe: _Probe) -> Iterator[Check]:
    for name, make in CHECKS.items():
        if name == "precision" and probe.precision == "float32":
            continue  # nothing that is reported depends on it
        pair = make(probe)
        passed, against, attacked = _decided(pair)
        images = len(probe.labels)
        yield Check(name, pair.stronger, pair.weaker, against, attacked, images, passed)


def _decided(pair: Pair) -> tuple[bool, int | None, int]:
    """Return whether a check passed, how many images spoke against the network, of how many."""
    speaking = pair.known if pair.knows_stronger else ~pair.known
    left = speaking.nonzero().flatten()
    more = attacked = fewer = 0
    while len(left) and (count := more + len(left) - NEEDED + 1) > 0:
        some = torch.zeros_like(speaking)
        some[left[:count]] = True
        more += pair.against(some)[0]
        attacked, left = attacked + int(some.sum()), left[count:]
    if more >= NEEDED and not speaking.all():
        fewer = pair.against(~speaking)[1]
        attacked = len(speaking)
    return sign_test(more, fewer) >= SIGNIFICANT, more if attacked else None, attacked


def sign_test(more: int, fewer: int) -> float:
    """Return the probability of at least ``more`` heads in ``more + fewer`` fair tosses."""
    tosses = more + fewer
    ways = sum(math.comb(tosses, heads) for heads in range(more, tosses + 1))
    return float(ways / 2**tosses)


def whole_image(threat: Threat, images: Tensor) -> Threat:
    """Return a threat with a radius that reaches every image in [0,1]."""
    pixels = images[0].numel()
    return Threat(norm=threat.norm, eps=1.0 if threat.norm == "linf" else math.sqrt(pixels))
