"""Prunable modules: the layers that lose a unit together, and their weights unit by unit.

Under channel pruning a module is a group of coupled layers: those that make a channel, their
normalisations, and those that read it. Under weight pruning it is one layer, and a unit is a
weight. A module is named after its root layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from prune_core.models.state import evaluating
from prune_core.pruning.prunable.costs import Costs
from prune_core.pruning.prunable.layers import WEIGHTED, weighted

Side = Literal["out", "in", "norm", "weight"]
"""``out``: a layer that makes channels; ``in``: one that reads them; ``norm``: a normalisation of
them; ``weight``: a layer seen weight by weight."""
Shape = tuple[int, int, int]
"""The shape of an image: channels, height, width."""
Structure = dict[str, list[int]]
"""The channels that each module keeps, by their indices in the dense network. Under masks it is
empty: the masks are buffers of the network."""


@dataclass(frozen=True)
class Member:
    """One side of a layer in a module.

    Attributes:
        layer: The name of the layer.
        side: Which side it is.
        units: Indices along this side of the layer's weight.
        channels: The channel of the module that each of these units belongs to. Several units may
            belong to one: the rows of a head, the inputs that a flattened map becomes.
        axis: The dimension of the weight that the units lie along; see `layers.axes`.
    """

    layer: str
    side: Side
    units: Sequence[int]
    channels: Sequence[int]
    axis: int = 0

    def rows(self, weight: Tensor) -> Tensor:
        """Return a tensor shaped as the layer's weight as [channels, weights of a channel]."""
        if self.side == "weight":
            return weight.reshape(-1, 1)
        return self.by_channel(weight.movedim(self.axis, 0), dim=0).flatten(1)

    def by_channel(self, tensor: Tensor, dim: int) -> Tensor:
        """Return a tensor with the dimension of its units as two: channels, units of a channel."""
        channels = max(self.channels) + 1
        each = len(self.units) // channels
        index = torch.tensor(self._order, device=tensor.device)
        shape = (*tensor.shape[:dim], channels, each, *tensor.shape[dim + 1 :])
        return tensor.index_select(dim, index).reshape(shape)

    def gated(self, weight: Tensor, gate: Tensor) -> Tensor:
        """Return the layer's weight times a gate of its channels [channels]."""
        if self.side == "weight":
            return weight * gate.view(weight.shape)
        units = torch.as_tensor(self.units, device=weight.device)
        channels = torch.as_tensor(self.channels, device=weight.device)
        factors = torch.ones(weight.shape[self.axis], dtype=gate.dtype, device=weight.device)
        factors = factors.index_copy(0, units, gate[channels])
        return weight * factors.view(-1, *[1] * (weight.dim() - self.axis - 1))

    @cached_property
    def _order(self) -> list[int]:
        """The units of the first channel, those of the second, and so on."""
        return [unit for _, unit in sorted(zip(self.channels, self.units, strict=True))]


@dataclass(frozen=True)
class PrunableModule:
    """A group of coupled layers.

    Attributes:
        name: The name of its root layer.
        units: The number of units.
        members: The sides of layers that belong to it.
        shape: The shape of the root layer's weight.
        cap: The largest number of units that it may keep, for example under a pattern; None for
            all.
    """

    name: str
    units: int
    members: tuple[Member, ...]
    shape: tuple[int, ...] = ()
    cap: int | None = None

    def makers(self) -> list[str]:
        """Return the layers whose weights make the module's units; the MRS perturbs these."""
        return [member.layer for member in self.members if member.side in ("out", "weight")]

    def readers(self) -> list[Member]:
        """Return what reads the module's units; of what nothing reads, what makes it."""
        readers = [member for member in self.members if member.side in ("in", "weight")]
        return readers or [member for member in self.members if member.side == "out"]


class PrunableView(Protocol):
    """A network as one granularity sees it; `remove` prunes it in place."""

    modules: Sequence[PrunableModule]

    @property
    def costs(self) -> Costs:
        """The costs of the network, by the units that modules keep."""

    @property
    def outputs(self) -> frozenset[str]:
        """The names of the modules whose units make the logits."""

    def allowed(self, module: PrunableModule) -> Tensor | None:
        """Return which units [units] may be kept; None if all may."""

    def select(self, module: PrunableModule, scores: Tensor, count: int) -> list[int]:
        """Return the ``count`` units to keep, in ascending order, from scores [units]."""

    def remove(self, kept: Mapping[str, Sequence[int]]) -> Structure:
        """Remove all but the kept units of every module, in place.

        Args:
            kept: The indices of the units to keep, by module.

        Returns:
            The structure that is left.

        Raises:
            RuntimeError: If the network does not have this structure afterwards.
        """


def highest(scores: Tensor, count: int) -> list[int]:
    """Return the indices of the highest scores, ascending; of equal scores the first counts."""
    best: list[int] = scores.argsort(descending=True, stable=True)[:count].sort().values.tolist()
    return best


def positions(network: nn.Module, shape: Shape) -> dict[str, int]:
    """Count at how many places each convolution or linear layer is applied to one image.

    A transposed convolution is applied to every place of its input.

    Args:
        network: It stays as it is.
        shape: The shape of an image.

    Returns:
        The counts by layer. If a layer, or its weight, is used several times, its places add up.
    """
    names = {id(layer.weight): name for name, layer in weighted(network).items()}
    places = dict.fromkeys(names.values(), 0)

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(layer, nn.Linear):
            count = output.numel() // layer.out_features
        elif isinstance(layer, _ConvNd):
            read, made = layer.in_channels, layer.out_channels
            count = inputs[0].numel() // read if layer.transposed else output.numel() // made
        places[names[id(layer.weight)]] += count  # of one image

    layers = [layer for layer in network.modules() if isinstance(layer, WEIGHTED)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        with evaluating(network), torch.no_grad():
            network(torch.zeros(1, *shape, device=next(network.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    return places
