"""A layer as a criterion sees it: its weights and signals, unit by unit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from prune_core.pruning.prunable.groups import Member
from prune_core.pruning.scores.signals import Signals


@dataclass(frozen=True)
class Layer:
    """A layer as a criterion sees it, with a row for each unit.

    On the output side of a layer the row of a channel is a filter, or all filters of a head; on the
    input side it is all weights that read the channel. Signals are shaped as ``weight`` unless they
    say otherwise.

    Attributes:
        name: The name of the layer.
        weight: [units, weights of a unit].
        generator: A CPU generator of this layer alone.
        member: The side of the layer.
        signals: The signals of all layers.
        module: The name of the module.
        shown: The maps or the inputs, if the criterion needs them.
    """

    name: str
    weight: Tensor
    generator: torch.Generator
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
        """An estimate of the diagonal of the Gauss-Newton matrix of the mean cross-entropy."""
        return self._rows(self.signals.curvature)

    @property
    def saliency(self) -> Tensor:
        """The part in what the loss of attacked images changes by their damage, as a mask finds."""
        return self._rows(self.signals.saliency)

    def hessian_gradient(self, temperature: float) -> Tensor:
        """Return the Hessian times the gradient; logits are divided by a temperature."""
        return self._rows(self.signals.hessian_gradient(temperature))

    def flow_order(self, rounds: int) -> Tensor:
        """Return the share of all units that SynFlow removes before each of these [units]."""
        return self.signals.flow_order(rounds)[self.module]

    def squared_change(self, size: int | None = None) -> Tensor:
        """Return the mean square, over batches, of the first-order change of the loss [units].

        Args:
            size: The number of images in a batch; by default that of the calibration.
        """
        return self.signals.squared_changes(size or self.signals.calibration.batch_size)[
            self.module
        ]

    @property
    def learned(self) -> Tensor:
        """A score trained on the loss of the pruned network [units]."""
        return self.signals.learned[self.module]

    @property
    def trained(self) -> Tensor:
        """A score that was trained before scoring, as a network is [units]."""
        return self.signals.trained[self.module]

    @property
    def maps(self) -> Tensor:
        """Feature maps after the activation [images, units, height, width]."""
        return self._shown()

    @property
    def inputs(self) -> Tensor:
        """What units add to outputs of the layer that reads them, at random [places, units]."""
        return self._shown()

    def _rows(self, by_layer: dict[str, Tensor]) -> Tensor:
        return self.member.rows(by_layer[self.name])

    def _shown(self) -> Tensor:
        if self.shown is None:
            raise ValueError("a criterion that reads maps or inputs must declare them in its needs")
        return self.shown
