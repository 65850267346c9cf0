"""The costs of a network, as functions of the number of units that each prunable module keeps.

They are exact for convolutions (also depthwise), linear layers and normalisations, and for coupled
groups and concatenations, so a budget is solved without changing a network. They take many
candidates at once: counts are arrays [..., modules], costs are arrays [...].
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Budget = Literal["params", "macs"]
Counts = NDArray[np.int64]


class Costs(Protocol):
    """The cost of a whole network."""

    def params(self, kept: Counts) -> Counts:
        """Return the numbers of parameters [...] if modules keep ``kept`` units [..., modules]."""

    def macs(self, kept: Counts) -> Counts:
        """Return the multiply-accumulates [...] of convolutions and linear layers for one image."""


def cost(costs: Costs, budget: Budget, kept: Counts) -> Counts:
    """Return the cost in the unit of ``budget``."""
    return costs.params(kept) if budget == "params" else costs.macs(kept)


@dataclass
class Width:
    """The size of one dimension of a layer.

    Attributes:
        fixed: The units that do not depend on a module.
        per_channel: The units for each channel that a module keeps, by module.
    """

    fixed: int = 0
    per_channel: dict[str, int] = field(default_factory=dict)


@dataclass
class LayerCost:
    """What the cost of a layer depends on.

    Attributes:
        out: The output channels.
        inputs: The input channels.
        kernel: The weights for each pair of an input and an output channel.
        per_output: The parameters of each output channel alone: a bias, or a normalisation's scale
            and shift.
        positions: The number of places at which the kernel is applied.
    """

    out: Width
    inputs: Width
    kernel: int
    per_output: int
    positions: int


class ChannelCosts:
    """The costs under channel pruning: those of a layer grow with the product of its widths.

    Args:
        layers: The layers of the network.
        modules: The names of the prunable modules, in the order of counts.
        other: The parameters outside of these layers.
    """

    def __init__(self, layers: list[LayerCost], modules: list[str], other: int):
        def matrix(widths: list[Width]) -> tuple[Counts, Counts]:
            column = {name: index for index, name in enumerate(modules)}
            units = np.zeros((len(modules), len(widths)), dtype=np.int64)
            for row, width in enumerate(widths):
                for name, count in width.per_channel.items():
                    units[column[name], row] = count
            return units, np.array([width.fixed for width in widths], dtype=np.int64)

        self._out = matrix([layer.out for layer in layers])
        self._inputs = matrix([layer.inputs for layer in layers])
        self._kernel = np.array([layer.kernel for layer in layers], dtype=np.int64)
        self._per_output = np.array([layer.per_output for layer in layers], dtype=np.int64)
        self._positions = np.array([layer.positions for layer in layers], dtype=np.int64)
        self._other = other

    def params(self, kept: Counts) -> Counts:
        """Return numbers of parameters; see `Costs`."""
        out, inputs = self._widths(kept)
        params: Counts = (out * (inputs * self._kernel + self._per_output)).sum(-1) + self._other
        return params

    def macs(self, kept: Counts) -> Counts:
        """Return multiply-accumulates; see `Costs`."""
        out, inputs = self._widths(kept)
        macs: Counts = (out * inputs * (self._kernel * self._positions)).sum(-1)
        return macs

    def _widths(self, kept: Counts) -> tuple[Counts, Counts]:
        return kept @ self._out[0] + self._out[1], kept @ self._inputs[0] + self._inputs[1]


@dataclass(frozen=True)
class WeightCosts:
    """The costs under weight pruning: a weight counts at every place where it is applied.

    Attributes:
        positions: The number of places of each module [modules].
        other_params: The parameters outside of the modules.
        other_macs: The multiply-accumulates outside of the modules.
    """

    positions: Counts
    other_params: int
    other_macs: int

    def params(self, kept: Counts) -> Counts:
        """Return numbers of weights that are not masked, and of other parameters."""
        params: Counts = kept.sum(-1) + self.other_params
        return params

    def macs(self, kept: Counts) -> Counts:
        """Return multiply-accumulates with weights that are not masked."""
        macs: Counts = kept @ self.positions + self.other_macs
        return macs
