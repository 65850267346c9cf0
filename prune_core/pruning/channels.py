"""Channel pruning: Torch-Pruning's dependency graph finds the coupled layers and removes channels.

Attention is pruned by whole heads, which the graph does not know; see `prune_core.pruning.heads`.
The logits of the classifier are never pruned.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from prune_core.models.third_party import torch_pruning as tp
from prune_core.pruning.costs import ChannelCosts, LayerCost, Width
from prune_core.pruning.groups import (
    Member,
    PrunableModule,
    Shape,
    Side,
    Structure,
    highest,
    positions,
    refuse_computed,
)
from prune_core.pruning.heads import Heads
from prune_core.pruning.outputs import output_layers

NORMS = (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d, nn.PReLU)
"""Layers with parameters along the channels that they pass on."""


class Channels:
    """The `PrunableView` of a network's channels; `remove` makes the network smaller.

    Args:
        network: The network to prune. All its parameters must be trainable: Torch-Pruning traces
            gradients, and silently leaves frozen layers as they are.
        shape: The shape of an image.

    Raises:
        ValueError: If a parameter is frozen, or a layer cannot be pruned by channel.
    """

    def __init__(self, network: nn.Module, shape: Shape):
        if not all(parameter.requires_grad for parameter in network.parameters()):
            raise ValueError(
                "frozen parameters cannot be pruned by channel; unfreeze all of them first"
            )
        self._layers = dict(network.named_modules())
        self._refuse_unknown()
        self._heads = {h.qkv: h for h in Heads.of(network)}
        self._graph = _graph(network, shape)
        names: dict[Any, str] = {layer: name for name, layer in self._layers.items()}
        names |= {parameter: name for name, parameter in network.named_parameters()}
        fixed = output_layers(network, shape)
        fixed += [self._layers[name] for name in _attentions(self._layers)]
        groups = self._graph.get_all_groups(
            ignored_layers=fixed, root_module_types=[nn.Conv2d, nn.Linear]
        )
        modules = [_module(group, names) for group in groups]
        modules += [head.module() for head in self._heads.values()]
        order = {name: index for index, name in enumerate(self._layers)}
        self.modules: Sequence[PrunableModule] = sorted(modules, key=lambda m: order[m.name])
        self.costs = _costs(network, shape, self.modules)

    def _refuse_unknown(self) -> None:
        refuse_computed(self._layers)
        for name, layer in self._layers.items():
            if isinstance(layer, nn.ConvTranspose2d):
                raise ValueError(
                    f"{name}: a transposed convolution cannot be pruned by channel; use "
                    "granularity weight"
                )
            if (
                isinstance(layer, nn.Conv2d)
                and layer.groups == layer.in_channels > 1
                and layer.out_channels != layer.in_channels
            ):
                raise ValueError(
                    f"{name}: a depthwise convolution with {layer.out_channels} outputs for "
                    f"{layer.in_channels} channels cannot be pruned by channel; use granularity "
                    "weight"
                )
            if isinstance(layer, nn.Conv2d) and layer.groups not in (1, layer.in_channels):
                raise ValueError(
                    f"{name}: a convolution in {layer.groups} groups cannot be pruned by channel; "
                    "use granularity weight"
                )
            if isinstance(layer, nn.MultiheadAttention):
                raise ValueError(
                    f"{name}: torch's MultiheadAttention cannot be pruned by channel; "
                    "use granularity weight, or the network of the same name from timm"
                )

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
        if name in self._heads:
            return self._heads[name].count
        layer = self._layers[name]
        return int(layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features)


def _attentions(layers: Mapping[str, nn.Module]) -> list[str]:
    """Return all joint query-key-value layers: where heads are unknown, they stay whole."""
    return [name for name in layers if name.rpartition(".")[2] == "qkv"]


def _graph(network: nn.Module, shape: Shape) -> Any:
    device = next(network.parameters()).device
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    with torch.enable_grad(), warnings.catch_warnings():
        # Single parameters (a class token) are pruned along their last dimension, as they should.
        warnings.filterwarnings("ignore", message="Unwrapped parameters detected")
        graph = tp.DependencyGraph().build_dependency(
            network, example_inputs=torch.zeros(2, *shape, device=device)
        )
    for module, training in modes:
        module.training = training
    return graph


def _module(group: Any, names: Mapping[Any, str]) -> PrunableModule:
    members: dict[tuple[str, Side], Member] = {}
    for item in group:
        layer = item.dep.target.module
        side = _side(layer, item.dep.handler.__name__)
        if side is not None:
            member = Member(names[layer], side, tuple(item.idxs), tuple(item.root_idxs))
            members.setdefault((member.layer, side), member)
    root = group[0].dep.target.module
    return PrunableModule(
        names[root],
        len(group[0].idxs),
        tuple(members[key] for key in sorted(members)),
        tuple(root.weight.shape),
    )


def _side(layer: Any, handler: str) -> Side | None:
    """Return the side of a layer that a dependency touches; None for what holds no parameter."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        return "out" if handler == "prune_out_channels" else "in"
    if isinstance(layer, nn.PReLU) and layer.num_parameters == 1:
        return None  # of all channels alike
    return "norm" if isinstance(layer, (*NORMS, nn.Parameter)) else None


def _costs(network: nn.Module, shape: Shape, modules: Sequence[PrunableModule]) -> ChannelCosts:
    applied = positions(network, shape)
    costs: dict[str, LayerCost] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            kernel = layer.weight[0, 0].numel()
            bias = int(layer.bias is not None)
            out, inputs = Width(layer.weight.shape[0]), Width(layer.weight.shape[1])
            costs[name] = LayerCost(out, inputs, kernel, bias, applied[name])
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
    whole = model.params(torch.tensor([module.units for module in modules]).numpy())
    other = sum(parameter.numel() for parameter in network.parameters()) - int(whole)
    return ChannelCosts(layers, names, other)
