"""Granularities: what is removed.

A granularity is a function ``(network, shape) -> PrunableView``; ``shape`` is that of an image. The
trait ``weights`` says that its units are single weights, held at zero by masks; without it they are
channels.
"""

from __future__ import annotations

from torch import nn

from prune_core.pruning.prunable.channels import Channels
from prune_core.pruning.prunable.groups import PrunableView, Shape
from prune_core.pruning.prunable.masks import Weights
from prune_core.specs.registry import GRANULARITIES, method


@method(
    "channel",
    source="Li et al., 2017 (arXiv 1608.08710); Fang et al., 2023 (arXiv 2301.12900)",
    revision=2,
)
def channel(network: nn.Module, shape: Shape) -> PrunableView:
    """Coupled channels and whole attention heads: the network becomes physically smaller."""
    return Channels(network, shape)


@method("weight", source="Han et al., 2015 (arXiv 1506.02626)", traits=("weights",), revision=2)
def weight(network: nn.Module, shape: Shape) -> PrunableView:
    """Single weights of convolutions and linear layers, masked."""
    return Weights(network, shape)


@method(
    "<n>:<m>",
    source="Mishra et al., 2021 (arXiv 2104.08378)",
    traits=("weights",),
    revision=2,
)
def pattern(network: nn.Module, shape: Shape, n: int, m: int) -> PrunableView:
    """Single weights, masked; of every m consecutive inputs at most n are kept, such as 2:4."""
    return Weights(network, shape, (n, m))


def prunable_view(network: nn.Module, shape: Shape, granularity: str) -> PrunableView:
    """Return a network as a granularity sees it."""
    view: PrunableView = GRANULARITIES.load(granularity)(network, shape)
    return view


def unit_of(granularity: str) -> str:
    """Return the unit of a granularity: channel or weight."""
    return "weight" if "weights" in GRANULARITIES[granularity].traits else "channel"
