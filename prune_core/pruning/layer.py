"""A layer as a criterion sees it: its weights and signals, unit by unit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from prune_core.pruning.groups import Member
from prune_core.pruning.signals import Signals


@dataclass(frozen=True)
class Layer:
    """A layer as a criterion sees it: a row holds what would go together.

    For channels on a layer's output side a row is a filter, on its input side all weights that
    read the channel. Tensors called after a signal are shaped as ``weight``.
    """

    name: str
    weight: Tensor
    """[units, weights of a unit]"""
    generator: torch.Generator
    """A CPU generator of the layer's own."""
    member: Member
    signals: Signals
    module: str
    shown: Tensor | None = None

    @property
    def gradient(self) -> Tensor:
        """The gradient of the mean cross-entropy on the calibration images."""
        return self._rows(self.signals.gradient)

    @property
    def curvature(self) -> Tensor:
        """The diagonal of the Gauss-Newton matrix of the mean cross-entropy (an estimate)."""
        return self._rows(self.signals.curvature)

    @property
    def hessian_gradient(self) -> Tensor:
        """The Hessian of the mean cross-entropy times its gradient."""
        return self._rows(self.signals.hessian_gradient)

    @property
    def flow(self) -> Tensor:
        """The gradient of the logits' sum in the network of absolute weights."""
        return self._rows(self.signals.flow)

    @property
    def products(self) -> Tensor:
        """The mean square, over images, of a unit's weights times their gradients [units]."""
        return self.signals.products[self.member]

    @property
    def learned(self) -> Tensor:
        """A score trained on the loss of the pruned network [units]."""
        scores = self.signals.learned[self.module]
        return scores[torch.as_tensor(self.member.channels, device=scores.device)]

    @property
    def maps(self) -> Tensor:
        """Feature maps after the activation [images, units, height, width]."""
        return self._shown()

    @property
    def inputs(self) -> Tensor:
        """What units add to the outputs of the layer that reads them, at some places.

        [places, units]
        """
        return self._shown()

    def _rows(self, by_layer: dict[str, Tensor]) -> Tensor:
        return self.member.rows(by_layer[self.name])

    def _shown(self) -> Tensor:
        if self.shown is None:
            raise ValueError("a criterion that reads maps or inputs must say so in its needs")
        return self.shown
