"""Prunable modules: groups of coupled layers, found by Torch-Pruning's dependency graph.

A module (in the sense of Module Robust Sensitivity) is everything that must lose a channel
together: the layers that make the channel, their normalisations, and the layers that read it. It
is named after its root layer. Indices of channels are always the root's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch_pruning as tp
from torch import Tensor, nn

from prune_core.costs import CostModel, LayerCost, Width


@dataclass(frozen=True)
class Member:
    """One side of a layer in a module: unit i of that side belongs to root channel channels[i].

    ``out``: a layer that makes the channels; ``in``: one that reads them; ``norm``: a normalisation
    between the two.
    """

    layer: str
    side: Literal["out", "in", "norm"]
    channels: tuple[int, ...]


@dataclass(frozen=True)
class PrunableModule:
    """A group of coupled layers; ``name`` is its root layer's."""

    name: str
    channels: int
    members: tuple[Member, ...]

    def makers(self) -> list[str]:
        """Return the layers, convolutional or linear, that make the module's channels."""
        return [member.layer for member in self.members if member.side == "out"]


class Anatomy:
    """A network's prunable modules and its cost model; `remove` prunes it in place.

    The network must be whole and trainable: Torch-Pruning traces gradients, and leaves frozen
    layers alone without a word.
    """

    def __init__(self, network: nn.Module, shape: tuple[int, int, int]):
        if not all(parameter.requires_grad for parameter in network.parameters()):
            raise ValueError("a frozen parameter would silently not be pruned: unfreeze all first")
        self._layers = dict(network.named_modules())
        self._graph = _graph(network, shape)
        names = {layer: name for name, layer in self._layers.items()}
        self.classifier = [n for n, m in self._layers.items() if isinstance(m, nn.Linear)][-1]
        groups = self._graph.get_all_groups(
            ignored_layers=[self._layers[self.classifier]],
            root_module_types=[nn.Conv2d, nn.Linear],
        )
        order = {name: index for index, name in enumerate(self._layers)}
        found = [_module(group, names) for group in groups]
        self.modules = sorted(found, key=lambda module: order[module.name])
        self.costs = _cost_model(network, shape, self.modules)

    @property
    def channels(self) -> dict[str, int]:
        """The number of channels of every module."""
        return {module.name: module.channels for module in self.modules}

    def remove(self, kept: Mapping[str, Sequence[int]]) -> None:
        """Cut the network down to the given channels of every module, and check that it was."""
        for module in self.modules:
            gone = sorted(set(range(module.channels)) - set(kept[module.name]))
            if gone:
                root = self._layers[module.name]
                prune = self._graph.get_pruner_of_module(root).prune_out_channels
                self._graph.get_pruning_group(root, prune, idxs=gone).prune()
        for module in self.modules:
            width, asked = _width(self._layers[module.name]), len(kept[module.name])
            if width != asked:
                raise RuntimeError(f"{module.name} kept {width} channels; {asked} were asked for")


def _width(layer: nn.Module) -> int:
    for name in ("out_channels", "out_features", "num_features"):
        if hasattr(layer, name):
            return int(getattr(layer, name))
    raise TypeError(f"{type(layer).__name__} has no width")


def _graph(network: nn.Module, shape: tuple[int, int, int]) -> Any:
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    with torch.enable_grad():
        graph = tp.DependencyGraph().build_dependency(
            network, example_inputs=torch.zeros(2, *shape, device=device)
        )
    network.train(was_training)
    return graph


def _module(group: Any, names: Mapping[nn.Module, str]) -> PrunableModule:
    members: dict[tuple[str, str], Member] = {}
    for item in group:
        layer = item.dep.target.module
        if not isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            continue
        if isinstance(layer, nn.Conv2d) and layer.groups != 1:
            raise ValueError(
                f"{names[layer]}: grouped convolutions cannot be pruned by channel here"
            )
        side: Literal["out", "in", "norm"] = "norm"
        if not isinstance(layer, nn.BatchNorm2d):
            side = "out" if item.dep.handler.__name__ == "prune_out_channels" else "in"
        member = Member(names[layer], side, tuple(item.root_idxs))
        members.setdefault((member.layer, member.side), member)
    root = names[group[0].dep.target.module]
    return PrunableModule(root, len(group[0].idxs), tuple(members[k] for k in sorted(members)))


def _cost_model(
    network: nn.Module, shape: tuple[int, int, int], modules: Sequence[PrunableModule]
) -> CostModel:
    positions = _positions(network, shape)
    costs: dict[str, LayerCost] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            kernel = layer.weight[0, 0].numel()
            bias = int(layer.bias is not None)
            out, inputs = Width(layer.weight.shape[0]), Width(layer.weight.shape[1])
            costs[name] = LayerCost(out, inputs, kernel, bias, positions[name])
        elif isinstance(layer, nn.BatchNorm2d):
            costs[name] = LayerCost(Width(layer.num_features), Width(), 0, 2, 0)
    for module in modules:
        for member in module.members:
            cost = costs[member.layer]
            width = cost.inputs if member.side == "in" else cost.out
            units = len(member.channels)
            width.fixed -= units
            width.per_channel[module.name] = units // module.channels
    return CostModel(tuple(costs.values()))


def _positions(network: nn.Module, shape: tuple[int, int, int]) -> dict[str, int]:
    """Count the places at which each convolution or linear layer is applied, for one image."""
    found: dict[str, int] = {}

    def note(name: str) -> Any:
        def hook(layer: nn.Module, _inputs: Any, output: Tensor) -> None:
            found[name] = output[0].numel() // _width(layer)

        return hook

    hooks = [
        layer.register_forward_hook(note(name))
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    was_training = network.training
    network.eval()
    with torch.no_grad():
        network(torch.zeros(1, *shape, device=next(network.parameters()).device))
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    return found
