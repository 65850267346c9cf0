"""Averages of the weights over a training, by torch's own `AveragedModel`.

EMA is an exponential average after every step, of BatchNorm's statistics too (Rebuffi et al., 2021,
arXiv 2103.01946). Its decay begins small, so that a short training does not report the network that
it began with: of TensorFlow's ``ExponentialMovingAverage``, as Gowal et al., 2020 (arXiv
2010.03593) use it. SWA is an equal average after every epoch from ``swa_start`` on; BatchNorm's
statistics are then computed again from the clean training images (Izmailov et al., 2018, arXiv
1803.05407).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from prune_core.models.state import load_tensors
from prune_core.pruning.prunable.masks import hold, masked, take_masks
from prune_core.specs.recipes import Training


class Average:
    """The average of the weights that a recipe asks for, if any.

    Args:
        network: The network in training.
        training: The recipe; its ``averaging`` is ``none``, ``ema`` or ``swa``.

    Attributes:
        begins: Whether the next step is the first that is averaged: it is copied.
    """

    def __init__(self, network: nn.Module, training: Training):
        self._training, self._kind = training, training.averaging
        self._first = math.ceil((training.swa_start or 0) * training.epochs)
        self.begins = False
        self._count = 0  # of networks that are in the average; the host never asks the device
        self._model: AveragedModel | None = None
        if training.averaging != "none":
            self._model = AveragedModel(network)
        # The share that the old average keeps at the next step, and the rest.
        self._shares = torch.zeros(2, device=next(network.parameters()).device).unbind()

    def before_step(self) -> None:
        """Set what the next `after_step` is to do, so that it looks at no number of the host."""
        if self._kind != "ema":
            return
        decay = decay_after(self._training, self._count)
        for share, value in zip(self._shares, (decay, 1 - decay), strict=True):
            share.fill_(value)
        self.begins = self._count == 0
        self._count += 1

    @torch.no_grad()
    def after_step(self, network: nn.Module) -> None:
        """Update the average after a step, if the recipe asks for it."""
        if self._model is None or self._kind != "ema":
            return
        averaged, current = (
            [*each.parameters(), *each.buffers()] for each in (self._model.module, network)
        )
        if self.begins:
            torch._foreach_copy_(averaged, current)
        else:
            _approach(averaged, current, *self._shares)

    def after_epoch(self, network: nn.Module, epoch: int, batches: Iterable[Tensor]) -> None:
        """Update the average after an epoch, if the recipe asks for it.

        Args:
            network: The network in training.
            epoch: The number of the epoch, from 0.
            batches: The clean training images, each [n, c, h, w] in [0,1].
        """
        if self._model is not None and self._kind == "swa" and epoch >= self._first:
            self._model.update_parameters(network)
            self._count += 1
            update_bn(batches, self._model.module)

    def after_rewiring(self, network: nn.Module) -> None:
        """Take over the network's masks, after they changed."""
        if self._model is not None:
            take_masks(self._model.module, network)
            hold(masked(self._model.module))

    def network(self, otherwise: nn.Module) -> nn.Module:
        """Return the averaged network in eval mode, or ``otherwise`` if there is no average yet."""
        if self._model is None or not self._count:
            return otherwise
        averaged: nn.Module = self._model.module
        return averaged.eval()

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that `restore` needs to resume the averaging."""
        if self._model is None:
            return {}
        self._model.n_averaged.fill_(self._count)
        return dict(self._model.state_dict())

    @torch.no_grad()
    def restore(self, state: dict[str, Tensor]) -> None:
        """Resume the averaging from what `state` returned."""
        if self._model is not None:
            load_tensors(self._model, state)
            self._count = int(self._model.n_averaged)


def decay_after(training: Training, steps: int) -> float:
    """Return the share that the old average keeps in an exponential average.

    Args:
        training: The recipe.
        steps: How many steps were averaged before.
    """
    decay = training.ema_decay or 0.0
    return min(decay, (1 + steps) / (10 + steps)) if training.ema_warmup else decay


def _approach(averaged: list[Tensor], current: list[Tensor], kept: Tensor, rest: Tensor) -> None:
    """Move averages towards what is averaged; masks, which are the same, stay as they are."""
    real = [index for index, tensor in enumerate(averaged) if tensor.is_floating_point()]
    torch._foreach_lerp_(
        [averaged[index] for index in real], [current[index] for index in real], [rest] * len(real)
    )
    for old, new in zip(averaged, current, strict=True):
        if not old.is_floating_point() and old.dtype != torch.bool:  # BatchNorm counts batches
            old.copy_(old * kept + new * rest)
