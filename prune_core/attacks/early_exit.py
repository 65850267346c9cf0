"""Dropping lost images out of an attack that goes on with the whole batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from prune_core.attacks.pgd import BLOCK


class Dropping(nn.Module):
    """Stands for a network while an attack steps over one batch [n, c, h, w], as a whole each time.

    An image that was misclassified once is kept as it was then and costs no more: its logits stay
    what they were, without a gradient. The others meet what they would meet without it. A batch of
    another size is passed on as it is.
    """

    def __init__(self, network: nn.Module, labels: Tensor):
        super().__init__()
        self.network = network
        self._labels = labels
        self._lost = torch.zeros_like(labels, dtype=torch.bool)
        self._logits: Tensor | None = None
        self._images: Tensor | None = None
        self.train(network.training)  # torchattacks gives back the mode that it finds here

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [n, classes]; those of lost images are old."""
        if len(images) != len(self._labels):
            passed: Tensor = self.network(images)
            return passed
        if self._logits is None or self._images is None:
            logits: Tensor = self.network(images)
            self._logits, self._images = logits.detach().clone(), images.detach().clone()
            self._keep(torch.arange(len(images), device=images.device), images, logits)
            return logits
        count = int((~self._lost).sum())
        room = min(-(-count // BLOCK) * BLOCK, len(images))
        place = self._lost.int().argsort(stable=True)[:room]
        logits = self.network(images[place])
        self._keep(place, images, logits)
        return self._logits.clone().index_copy(0, place, logits)

    def result(self, images: Tensor) -> Tensor:
        """Return what an attack ended with, lost images as they were when they were lost."""
        if self._images is None:
            return images
        return torch.where(self._lost.view(-1, 1, 1, 1), self._images, images)

    def _keep(self, place: Tensor, images: Tensor, logits: Tensor) -> None:
        if self._logits is None or self._images is None:
            return
        wrong = (logits.detach().argmax(1) != self._labels[place]) & ~self._lost[place]
        lost = place[wrong]
        self._images[lost] = images.detach()[lost]
        self._logits[lost] = logits.detach()[wrong]
        self._lost[lost] = True
