"""Torch-Pruning's dependency graph of a network, with what it gets wrong mended."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from prune_core.errors import UnprunableError
from prune_core.models.state import evaluating
from prune_core.models.third_party import torch_pruning as tp
from prune_core.models.third_party import torch_pruning_graph as of_groups
from prune_core.pruning.prunable.layers import INSTEAD

MOST_LAYERS, MOST_CHANNELS = 5_000, 3_000_000
"""That may depend on one another; a ViT-B has 180 and 140,000. Where channels are rolled, or folded
into windows, Torch-Pruning goes round in circles until memory runs out."""


class _LayerNorms(tp.pruner.function.LayernormPruner):  # type: ignore[misc] # untyped
    """Cuts LayerNorm and RMSNorm; Torch-Pruning's own shuffles scales and shifts.

    It takes the channels that stay in the order of a set, which is not ascending where few stay.
    """

    def prune_out_channels(
        self, layer: nn.LayerNorm | nn.RMSNorm, idxs: Sequence[int]
    ) -> nn.Module:
        """Remove channels, in place."""
        kept = sorted(set(range(self.get_out_channels(layer))) - set(idxs))
        for name, parameter in list(layer.named_parameters(recurse=False)):
            setattr(layer, name, self._prune_parameter_and_grad(parameter, kept, -1))
        layer.normalized_shape = (len(kept),)
        return layer

    prune_in_channels = prune_out_channels


class _Bounded(tp.dependency.Group):  # type: ignore[misc] # untyped
    """A group of dependencies that does not grow for ever."""

    channels = 0

    def add_dep(self, dep: Any, idxs: Sequence[Any]) -> None:
        """Add a layer and those of its channels that depend on the others."""
        self.channels += len(idxs)
        if len(self) > MOST_LAYERS or self.channels > MOST_CHANNELS:
            raise UnprunableError(
                f"Torch-Pruning finds no end of channels that depend on each other; use {INSTEAD}"
            )
        super().add_dep(dep, idxs)


def dependency_graph(network: nn.Module, images: nn.Parameter) -> Any:
    """Trace a network.

    Args:
        network: It stays as it is.
        images: [n, c, h, w]. They are a node of the graph: their channels count where they are
            joined to others, and what is added to them cannot be cut.
    """
    graph = tp.DependencyGraph()
    norms = _LayerNorms()
    graph.REGISTERED_PRUNERS[tp.ops.OPTYPE.LN] = norms
    graph.register_customized_layer(nn.RMSNorm, norms)
    with evaluating(network), torch.enable_grad(), warnings.catch_warnings(), bounded():
        # Single parameters (a class token) are pruned along their last dimension, as they should.
        warnings.filterwarnings("ignore", message="Unwrapped parameters detected")
        graph.build_dependency(network, example_inputs=images, unwrapped_parameters=[(images, 1)])
    return graph


@contextmanager
def bounded() -> Iterator[None]:
    """Let no group of dependencies grow for ever, while Torch-Pruning makes groups.

    Raises:
        UnprunableError: One does.
    """
    whole = of_groups.Group
    of_groups.Group = _Bounded
    try:
        yield
    finally:
        of_groups.Group = whole
