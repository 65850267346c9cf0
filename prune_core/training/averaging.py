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
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from prune_core.models.state import load_tensors
from prune_core.pruning.prunable.masks import hold, masked, take_masks
from prune_core.specs.recipes import Training


class Average:
    """The average of the weights that a recipe asks for, if any.

    Args:
        network: The network in training.
        training: The recipe; its ``averaging`` is ``none``, ``ema`` or ``swa``.
    """

    def __init__(self, network: nn.Module, training: Training):
        self._kind = training.averaging
        self._first = math.ceil((training.swa_start or 0) * training.epochs)
        self._model: AveragedModel | None = None
        if training.averaging == "ema":
            average = partial(_average, training)
            self._model = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
        elif training.averaging == "swa":
            self._model = AveragedModel(network)

    def after_step(self, network: nn.Module) -> None:
        """Update the average after a step, if the recipe asks for it."""
        if self._model is not None and self._kind == "ema":
            self._model.update_parameters(network)

    def after_epoch(self, network: nn.Module, epoch: int, batches: Iterable[Tensor]) -> None:
        """Update the average after an epoch, if the recipe asks for it.

        Args:
            network: The network in training.
            epoch: The number of the epoch, from 0.
            batches: The clean training images, each [n, c, h, w] in [0,1].
        """
        if self._model is not None and self._kind == "swa" and epoch >= self._first:
            self._model.update_parameters(network)
            update_bn(batches, self._model.module)

    def after_rewiring(self, network: nn.Module) -> None:
        """Take over the network's masks, after they changed."""
        if self._model is not None:
            take_masks(self._model.module, network)
            hold(masked(self._model.module))

    def network(self, otherwise: nn.Module) -> nn.Module:
        """Return the averaged network in eval mode, or ``otherwise`` if there is no average yet."""
        if self._model is None or not int(self._model.n_averaged):
            return otherwise
        averaged: nn.Module = self._model.module
        return averaged.eval()

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that `restore` needs to resume the averaging."""
        return {} if self._model is None else dict(self._model.state_dict())

    @torch.no_grad()
    def restore(self, state: dict[str, Tensor]) -> None:
        """Resume the averaging from what `state` returned."""
        if self._model is not None:
            load_tensors(self._model, state)


def decay_after(training: Training, steps: int) -> float:
    """Return the share that the old average keeps in an exponential average.

    Args:
        training: The recipe.
        steps: How many steps were averaged before.
    """
    decay = training.ema_decay or 0.0
    return min(decay, (1 + steps) / (10 + steps)) if training.ema_warmup else decay


def _average(
    training: Training, averaged: list[Tensor], current: list[Tensor], steps: Tensor
) -> None:
    decay = decay_after(training, int(steps))
    get_ema_multi_avg_fn(decay)(averaged, current, steps)  # type: ignore[no-untyped-call]  # torch's own
