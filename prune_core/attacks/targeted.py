"""AutoAttack's targeted part, on torchattacks' APGD."""

from __future__ import annotations

import torchattacks
from torch import Tensor


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
