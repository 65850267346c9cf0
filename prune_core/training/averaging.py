"""Averages of the weights along a training, through torch's own `AveragedModel`.

EMA: after every step, BatchNorm's statistics included (Rebuffi et al., 2021, arXiv 2103.01946).
SWA: equally after every epoch from `swa_start` on, BatchNorm's statistics then taken anew from the
clean training images (Izmailov et al., 2018, arXiv 1803.05407).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from prune_core.specs.recipes import Training


class Average:
    """The average that a recipe asks for; it stands for nothing until the first update."""

    def __init__(self, network: nn.Module, training: Training):
        self._kind = training.averaging
        self._first = math.ceil((training.swa_start or 0) * training.epochs)
        self._model: AveragedModel | None = None
        if training.averaging == "ema" and training.ema_decay is not None:
            decay = get_ema_multi_avg_fn(training.ema_decay)  # type: ignore[no-untyped-call]  # torch's own
            self._model = AveragedModel(network, multi_avg_fn=decay, use_buffers=True)
        elif training.averaging == "swa":
            self._model = AveragedModel(network)

    def after_step(self, network: nn.Module) -> None:
        """Take in the weights after a step."""
        if self._model is not None and self._kind == "ema":
            self._model.update_parameters(network)

    def after_epoch(self, network: nn.Module, epoch: int, batches: Iterable[Tensor]) -> None:
        """Take in the weights after an epoch, counted from 0; ``batches`` are clean images."""
        if self._model is not None and self._kind == "swa" and epoch >= self._first:
            self._model.update_parameters(network)
            update_bn(batches, self._model.module)

    def network(self, otherwise: nn.Module) -> nn.Module:
        """Return the averaged network, in eval mode, or another where there is no average yet."""
        if self._model is None or not int(self._model.n_averaged):
            return otherwise
        averaged: nn.Module = self._model.module
        return averaged.eval()

    def state(self) -> dict[str, Tensor]:
        """Return all from which averaging goes on."""
        return {} if self._model is None else dict(self._model.state_dict())

    @torch.no_grad()
    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        if self._model is not None:
            self._model.load_state_dict(state)
