"""Counting: parameters and multiply-accumulates of a network, without masked weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from prune_core.pruning.prunable import masks
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.prunable.groups import PrunableModule, Shape, positions


@dataclass(frozen=True)
class Origin:
    """The sizes of the dense network, which all shares refer to.

    Attributes:
        units: The number of units of each module.
        module_params: The parameters of the layers that make each module's units.
        params: The parameters of the network.
        macs: Its multiply-accumulates for one image.
    """

    units: dict[str, int]
    module_params: dict[str, int]
    params: int
    macs: int


def origin_of(network: nn.Module, shape: Shape, granularity: str) -> Origin:
    """Return the sizes of a dense network."""
    modules = prunable_view(network, shape, granularity).modules
    return Origin(
        {module.name: module.units for module in modules},
        maker_params(network, modules),
        count_params(network),
        count_macs(network, shape),
    )


def count_params(network: nn.Module) -> int:
    """Count the parameters of a network that are not masked."""
    whole = sum(parameter.numel() for parameter in network.parameters())
    layers = masks.masked(network)
    return (
        whole
        - sum(layer.get_parameter("weight").numel() for layer in layers)
        + sum(map(masks.weights_left, layers))
    )


def count_macs(network: nn.Module, shape: Shape) -> int:
    """Count the multiply-accumulates of convolutions and linear layers for one image.

    Masked weights do not count, nor do products of activations, as in attention.
    """
    layers, places = masks.maskable(network), positions(network, shape)
    return sum(places[name] * masks.weights_left(layer) for name, layer in layers.items())


def maker_params(network: nn.Module, modules: Sequence[PrunableModule]) -> dict[str, int]:
    """Count the parameters of the layers that make each module's units, without masked weights."""

    def count(name: str) -> int:
        layer = network.get_submodule(name)
        bias = getattr(layer, "bias", None)
        return masks.weights_left(layer) + (0 if bias is None else bias.numel())

    return {module.name: sum(count(layer) for layer in module.makers()) for module in modules}
