"""Prunable modules: what loses a unit together, and how its weights are seen unit by unit.

Under channel pruning a module (in the sense of Module Robust Sensitivity) is a group of coupled
layers: those that make a channel, their normalisations, and those that read it. Under weight
pruning it is one layer, and a unit is a weight. A module is named after its root layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from prune_core.models.state import evaluating
from prune_core.pruning.costs import Costs

Side = Literal["out", "in", "norm", "weight"]
"""``out``: a layer that makes channels; ``in``: one that reads them; ``norm``: a normalisation of
them; ``weight``: a layer seen weight by weight."""
Shape = tuple[int, int, int]
"""The shape of an image: channels, height, width."""
Structure = dict[str, list[int]]
"""What each module keeps: channels by their index in the dense network; nothing under masks, whose
weights are held as buffers of the network."""


@dataclass(frozen=True)
class Member:
    """One side of a layer in a module: unit ``units[i]`` of it belongs to ``channels[i]``."""

    layer: str
    side: Side
    units: Sequence[int]
    channels: Sequence[int]

    def rows(self, weight: Tensor) -> Tensor:
        """Return [units, weights of a unit] of a tensor shaped as the layer's weight."""
        if self.side == "weight":
            return weight.reshape(-1, 1)
        across = weight.transpose(0, 1) if self.side == "in" else weight
        whole = len(self.units) == len(across)
        chosen = across if whole else across[list(self.units)]
        return chosen.reshape(len(chosen), -1)


@dataclass(frozen=True)
class PrunableModule:
    """A group of coupled layers; ``name`` is its root layer's, ``units`` counts what it can lose.

    ``cap`` is the number of units that it keeps at most (a pattern may leave less than all).
    """

    name: str
    units: int
    members: tuple[Member, ...]
    shape: tuple[int, ...] = ()
    """The shape of the root layer's weight."""
    cap: int | None = None

    def makers(self) -> list[str]:
        """Return the layers whose weights make the module: those that the MRS perturbs."""
        return [member.layer for member in self.members if member.side in ("out", "weight")]


class PrunableView(Protocol):
    """A network as one granularity sees it; `remove` prunes it in place."""

    modules: Sequence[PrunableModule]

    @property
    def costs(self) -> Costs:
        """What the network costs."""

    def allowed(self, module: PrunableModule) -> Tensor | None:
        """Return which units may be kept at all [units], or None where all may."""

    def select(self, module: PrunableModule, scores: Tensor, count: int) -> list[int]:
        """Return the ``count`` units of a module to keep, by their scores [units], ascending."""

    def remove(self, kept: Mapping[str, Sequence[int]]) -> Structure:
        """Cut the network down to the kept units of every module; return the structure kept.

        Raises:
            RuntimeError: Where the network did not become what was asked for.
        """


def highest(scores: Tensor, count: int) -> list[int]:
    """Return the indices of the highest scores, ascending; ties go to the first."""
    best: list[int] = scores.argsort(descending=True, stable=True)[:count].sort().values.tolist()
    return best


def positions(network: nn.Module, shape: Shape) -> dict[str, int]:
    """Count the places at which each convolution or linear layer is applied, for one image.

    A layer that is applied more than once counts every time; one never applied has none.
    """
    places: dict[str, int] = {}

    def note(name: str) -> object:
        def hook(layer: nn.Module, _inputs: object, output: Tensor) -> None:
            width = layer.out_channels if isinstance(layer, nn.Conv2d) else output.shape[-1]
            places[name] = places.get(name, 0) + output.numel() // int(width)  # of one image

        return hook

    layers = {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    hooks = [layer.register_forward_hook(note(name)) for name, layer in layers.items()]  # type: ignore[arg-type] # torch's hook type admits any callable
    try:
        with evaluating(network), torch.no_grad():
            network(torch.zeros(1, *shape, device=next(network.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: places.get(name, 0) for name in layers}
