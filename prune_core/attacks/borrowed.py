"""torchattacks' APGD and FAB as they are run here: seeded by us, without a record of their steps.

AutoAttack's targeted APGD is built on its APGD.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torchattacks
from torch import Tensor, nn

from prune_core.attacks.early_exit import Dropping
from prune_core.specs.settings import Threat

NAMES = {"linf": "Linf", "l2": "L2"}
"""What torchattacks calls the norms."""


class TargetedApgd(torchattacks.APGD):  # type: ignore[misc]  # torchattacks has no types
    """APGD on the targeted difference of logits ratio; each restart aims at the next best class.

    The APGDT of torchattacks steps every image by the first image's step under l2.
    """

    _rank = 1

    def attack_single_run(self, x_in: Tensor, y_in: Tensor) -> tuple[Tensor, ...]:
        """Attack images that are still classified correctly; the name is torchattacks'."""
        self._rank += 1
        self._targets = self.get_logits(x_in).argsort(1)[:, -self._rank].unsqueeze(1)
        found: tuple[Tensor, ...] = super().attack_single_run(x_in, y_in)
        return found

    def dlr_loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss [n] of logits [n, classes] and labels [n]; the name is torchattacks'."""
        ordered = x.sort(1).values
        spread = ordered[:, -1] - (ordered[:, -3] + ordered[:, -4]) / 2 + 1e-12
        return (x.gather(1, self._targets) - x.gather(1, y.unsqueeze(1))).squeeze(1) / spread


@torch.no_grad()
def run(attack: Callable[..., Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """Attack without a record, which would hold the images of each of APGD's steps and restarts."""
    return attack(images, labels)


def apgd(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat, loss: str) -> Tensor:
    """Return images attacked by APGD, 100 steps; one that is misclassified is left as it is."""
    norm, dropping = NAMES[threat.norm], Dropping(network, labels)
    attack = torchattacks.APGD(dropping, norm, threat.eps, steps=100, seed=drawn_seed(), loss=loss)
    return dropping.result(run(attack, images, labels))


def targeted_apgd(network: nn.Module, threat: Threat, targets: int) -> TargetedApgd:
    """Return APGD that aims at so many of the best wrong classes, one after the other."""
    seed, norm = drawn_seed(), NAMES[threat.norm]
    return TargetedApgd(network, norm, threat.eps, 100, n_restarts=targets, seed=seed, loss="dlr")


def fab(network: nn.Module, images: Tensor, threat: Threat, *, targeted: bool) -> torchattacks.FAB:
    """Return the fast adaptive boundary attack, 100 steps; targeted at 9 classes at most."""
    classes = enough_classes(network, images, "fab", 2)
    return torchattacks.FAB(
        network,
        NAMES[threat.norm],
        threat.eps,
        steps=100,
        seed=drawn_seed(),
        multi_targeted=targeted,
        n_classes=min(classes, 10) if targeted else classes,
    )


def drawn_seed() -> int:
    """Draw a seed for code that seeds itself."""
    return int(torch.randint(2**31, ()))


def enough_classes(network: nn.Module, images: Tensor, attack: str, least: int) -> int:
    """Return how many classes a network tells apart.

    Raises:
        ValueError: They are too few for the attack.
    """
    with torch.no_grad():
        classes = int(network(images[:1]).shape[1])
    if classes < least:
        raise ValueError(f"attack {attack!r} needs at least {least} classes; there are {classes}")
    return classes
