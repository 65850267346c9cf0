"""What a network costs, as a function of how many units each prunable module keeps.

The models are exact for convolutions (depthwise ones too), linear layers and normalisations,
coupled groups and concatenations included, so that a budget is solved without touching a network.
They take many candidates at once: counts are arrays [..., modules], costs arrays [...].
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
        """Return numbers of parameters [...] where modules keep ``kept`` [..., modules]."""

    def macs(self, kept: Counts) -> Counts:
        """Return multiply-accumulates of convolutions and linear layers for one image [...]."""


def cost(costs: Costs, budget: Budget, kept: Counts) -> Counts:
    """Return the cost in the unit of ``budget``."""
    return costs.params(kept) if budget == "params" else costs.macs(kept)


@dataclass
class Width:
    """A dimension of a layer: a fixed part, and a number of units for each channel of a module."""

    fixed: int = 0
    per_channel: dict[str, int] = field(default_factory=dict)


@dataclass
class LayerCost:
    """A layer's parameters and multiply-accumulates, by its two widths."""

    out: Width
    inputs: Width
    kernel: int
    """Weights for each pair of an input and an output channel."""
    per_output: int
    """Parameters for each output channel alone: a bias, or a normalisation's scale and shift."""
    positions: int
    """Places at which the kernel is applied."""


class ChannelCosts:
    """Costs where modules lose channels: a layer's grow with the product of its widths."""

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
    """Costs where modules lose single weights: a weight counts at every place it is applied."""

    positions: Counts
    """[modules]"""
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
