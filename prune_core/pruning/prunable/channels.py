"""Channel pruning: Torch-Pruning's dependency graph finds the coupled layers and removes channels.

Attention is pruned by whole heads, which the graph does not know: see
`prune_core.pruning.prunable.heads`. The logits of the classifier are never pruned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from prune_core.errors import UnprunableError
from prune_core.pruning.prunable.costs import ChannelCosts, LayerCost, Width
from prune_core.pruning.prunable.graph import bounded, dependency_graph
from prune_core.pruning.prunable.groups import (
    Member,
    PrunableModule,
    Shape,
    Side,
    Structure,
    highest,
    positions,
)
from prune_core.pruning.prunable.heads import Heads
from prune_core.pruning.prunable.layers import (
    INSTEAD,
    NORMS,
    WEIGHTED,
    axes,
    refuse_uncuttable,
    widths,
)
from prune_core.pruning.prunable.outputs import output_layers


class Channels:
    """The `PrunableView` of a network's channels; `remove` makes the network smaller.

    Args:
        network: The network to prune. All its parameters must be trainable: Torch-Pruning traces
            gradients, and silently leaves frozen layers as they are.
        shape: The shape of an image.

    Raises:
        UnprunableError: If a parameter is frozen, or a layer cannot be pruned by channel.
    """

    def __init__(self, network: nn.Module, shape: Shape):
        if not all(parameter.requires_grad for parameter in network.parameters()):
            raise UnprunableError(
                "frozen parameters cannot be pruned by channel; unfreeze all of them first"
            )
        refuse_uncuttable(network)
        self._layers = dict(network.named_modules())
        self._heads = {h.qkv: h for h in Heads.of(network)}
        images = nn.Parameter(torch.zeros(2, *shape, device=next(network.parameters()).device))
        self._graph = dependency_graph(network, images)
        names: dict[Any, str] = {layer: name for name, layer in self._layers.items()}
        names |= {parameter: name for name, parameter in network.named_parameters()}
        fixed = output_layers(network, shape)
        fixed += [self._layers[name] for name in _attentions(self._layers)]
        with bounded():
            groups = list(self._graph.get_all_groups(fixed, root_module_types=WEIGHTED))
        modules = [_module(group, names) for group in groups if not _holds(group, images)]
        modules += [head.module() for head in self._heads.values()]
        order = {name: index for index, name in enumerate(self._layers)}
        self.modules: Sequence[PrunableModule] = sorted(modules, key=lambda m: order[m.name])
        self.costs = _costs(network, shape, self.modules)

    @property
    def outputs(self) -> frozenset[str]:
        """Return none: logits are not pruned."""
        return frozenset()

    def allowed(self, module: PrunableModule) -> Tensor | None:
        """Return None: any channel may be kept."""
        del module
        return None

    def select(self, module: PrunableModule, scores: Tensor, count: int) -> list[int]:
        """Return the channels with the highest scores."""
        del module
        return highest(scores, count)

    def remove(self, kept: Mapping[str, Sequence[int]]) -> Structure:
        """Remove all but the kept channels of every module; see `PrunableView`."""
        for module in self.modules:
            gone = sorted(set(range(module.units)) - set(kept[module.name]))
            if gone and module.name not in self._heads:
                root = self._layers[module.name]
                prune = self._graph.get_pruner_of_module(root).prune_out_channels
                self._graph.get_pruning_group(root, prune, idxs=gone).prune()
        for name, head in self._heads.items():
            head.keep(sorted(kept[name]))
        for module in self.modules:
            left = self._units(module.name)
            if left != len(kept[module.name]):
                raise RuntimeError(
                    f"{module.name} kept {left} channels; {len(kept[module.name])} were asked for"
                )
        return {module.name: sorted(kept[module.name]) for module in self.modules}

    def _units(self, name: str) -> int:
        return self._heads[name].count if name in self._heads else widths(self._layers[name])[0]


def _attentions(layers: Mapping[str, nn.Module]) -> list[str]:
    """Return all joint query-key-value layers: where heads are unknown, they stay whole."""
    return [name for name in layers if name.rpartition(".")[2] == "qkv"]


def _holds(group: Any, images: nn.Parameter) -> bool:
    return any(item.dep.target.module is images for item in group)


def _module(group: Any, names: Mapping[Any, str]) -> PrunableModule:
    members: dict[tuple[str, Side], Member] = {}
    for item in group:
        member = _member(item, names)
        if member is not None:
            members.setdefault((member.layer, member.side), member)
    root = group[0].dep.target.module
    return PrunableModule(
        names[root],
        len(group[0].idxs),
        tuple(members[key] for key in sorted(members)),
        tuple(root.weight.shape),
    )


def _member(item: Any, names: Mapping[Any, str]) -> Member | None:
    """Return the side of a layer that a dependency touches; None for what holds no parameter."""
    layer, units, channels = item.dep.target.module, tuple(item.idxs), tuple(item.root_idxs)
    if isinstance(layer, WEIGHTED):
        out, inputs = axes(layer)
        if item.dep.handler.__name__ == "prune_out_channels":
            return Member(names[layer], "out", units, channels, out)
        return Member(names[layer], "in", units, channels, inputs)
    if isinstance(layer, nn.Embedding):  # a parameter of its own, as a class token is
        return Member(f"{names[layer]}.weight", "norm", units, channels)
    if isinstance(layer, nn.PReLU) and layer.num_parameters == 1:
        return None  # of all channels alike
    if isinstance(layer, (*NORMS, nn.Parameter)):
        return Member(names[layer], "norm", units, channels)
    if next(layer.parameters(), None) is not None:
        raise UnprunableError(
            f"{names[layer]}: a layer of type {type(layer).__name__} cannot be pruned by channel; "
            f"use {INSTEAD}"
        )
    return None


def _costs(network: nn.Module, shape: Shape, modules: Sequence[PrunableModule]) -> ChannelCosts:
    applied = positions(network, shape)
    costs: dict[str, LayerCost] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, WEIGHTED):
            out, inputs = widths(layer)
            kernel = layer.weight[0, 0].numel()
            bias = int(layer.bias is not None)
            costs[name] = LayerCost(Width(out), Width(inputs), kernel, bias, applied[name])
        elif isinstance(layer, NORMS):
            parameters = list(layer.parameters(recurse=False))
            width = len(parameters[0]) if parameters else 0
            costs[name] = LayerCost(Width(width), Width(), 0, len(parameters), 0)
    single = dict(network.named_parameters())
    for module in modules:
        for member in module.members:
            if member.layer not in costs:  # a parameter of its own: a class token, a layer's scale
                width = len(member.units)
                each = single[member.layer].numel() // width
                costs[member.layer] = LayerCost(Width(width), Width(), 0, each, 0)
            cost = costs[member.layer]
            side = cost.inputs if member.side == "in" else cost.out
            side.fixed -= len(member.units)
            side.per_channel[module.name] = len(member.units) // module.units
    layers, names = list(costs.values()), [module.name for module in modules]
    model = ChannelCosts(layers, names, other=0)
    whole = model.params(np.array([module.units for module in modules], dtype=np.int64))
    other = sum(parameter.numel() for parameter in network.parameters()) - int(whole)
    return ChannelCosts(layers, names, other)
