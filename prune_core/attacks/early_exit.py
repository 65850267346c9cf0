"""Early exit: no computation for images that an attack has misclassified already."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from prune_core.attacks.pgd import BLOCK


class Dropping(nn.Module):
    """Stands for a network while an attack steps over a batch, the whole batch at each step.

    Once an image is misclassified it is kept as it is, and its logits, without a gradient, are not
    computed again. The other images get the same logits as without this class. A batch of another
    size goes to the network as it is.

    Args:
        network: The network to attack.
        labels: The labels [n] of the batch.
    """

    def __init__(self, network: nn.Module, labels: Tensor):
        super().__init__()
        self.network = network
        self._labels = labels
        self._lost = torch.zeros_like(labels, dtype=torch.bool)
        self._logits: Tensor | None = None
        self._images: Tensor | None = None
        self.train(network.training)  # torchattacks restores the mode that it reads here

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [n, classes]; those of misclassified images are not computed again."""
        if len(images) != len(self._labels):
            passed: Tensor = self.network(images)
            return passed
        if self._logits is None or self._images is None:
            logits: Tensor = self.network(images)
            self._logits, self._images = logits.detach().clone(), images.detach().clone()
            self._keep(torch.arange(len(images), device=images.device), images, logits)
            return logits
        count = int((~self._lost).sum())
        if not count:  # some networks take no empty batch; the attack asks for a gradient
            return self._logits + 0 * images.flatten(1).sum(1, keepdim=True)
        room = min(-(-count // BLOCK) * BLOCK, len(images))
        place = self._lost.int().argsort(stable=True)[:room]
        logits = self.network(images[place])
        self._keep(place, images, logits)
        return self._logits.clone().index_copy(0, place, logits)

    def result(self, images: Tensor) -> Tensor:
        """Return the images that an attack made.

        Args:
            images: What the attack returned, [n, c, h, w].

        Returns:
            The same, but misclassified images as they were when they were first misclassified.
        """
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
