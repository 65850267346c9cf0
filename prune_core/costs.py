"""What a network costs, as a function of how many channels each prunable module keeps.

The model is exact for networks of convolutions, linear layers and normalisations, coupled groups
and concatenations included, so that a budget is solved without touching a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Budget = Literal["params", "macs"]


@dataclass
class Width:
    """A dimension of a layer: a fixed part, and a number of units for each channel of a module."""

    fixed: int = 0
    per_channel: dict[str, int] = field(default_factory=dict)

    def at(self, kept: Mapping[str, int]) -> int:
        """Return the width when each module keeps ``kept`` channels."""
        return self.fixed + sum(units * kept[name] for name, units in self.per_channel.items())


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


@dataclass(frozen=True)
class CostModel:
    """The cost of a whole network."""

    layers: tuple[LayerCost, ...]

    def params(self, kept: Mapping[str, int]) -> int:
        """Return the number of parameters."""
        return sum(
            layer.out.at(kept) * (layer.inputs.at(kept) * layer.kernel + layer.per_output)
            for layer in self.layers
        )

    def macs(self, kept: Mapping[str, int]) -> int:
        """Return the multiply-accumulates of convolutions and linear layers for one image."""
        return sum(
            layer.out.at(kept) * layer.inputs.at(kept) * layer.kernel * layer.positions
            for layer in self.layers
        )

    def cost(self, budget: Budget, kept: Mapping[str, int]) -> int:
        """Return the cost in the unit of ``budget``."""
        return self.params(kept) if budget == "params" else self.macs(kept)
