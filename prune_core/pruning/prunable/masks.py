"""Weight pruning: masks on convolutions and linear layers.

A mask is a buffer ``mask`` of its layer, so it is saved, copied and moved with the network. `hold`
sets masked weights to zero again after a training step. Under a pattern n:m, at most n of every m
consecutive input channels keep their weight at each place of the kernel, as sparse tensor cores
need it. A layer whose number of input channels is no multiple of m is not pruned, nor is a
transposed convolution.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from prune_core.errors import UnprunableError
from prune_core.pruning.prunable.costs import WeightCosts
from prune_core.pruning.prunable.groups import (
    Member,
    PrunableModule,
    Shape,
    Structure,
    highest,
    positions,
)
from prune_core.pruning.prunable.layers import axes, refuse_computed, weighted, widths
from prune_core.pruning.prunable.outputs import output_layers


class Weights:
    """The `PrunableView` of a network's single weights; `remove` masks them.

    Args:
        network: The network to prune.
        shape: The shape of an image.
        pattern: The n and m of a pattern n:m; None to keep any weights.
    """

    def __init__(
        self,
        network: nn.Module,
        shape: Shape,
        pattern: tuple[int, int] | None = None,
    ):
        self._network, self._shape, self._pattern = network, shape, pattern
        refuse_computed(network)
        layers = maskable(network)
        for name, layer in layers.items():
            if hasattr(layer, "mask") and not _is_ours(layer):
                raise UnprunableError(
                    f"{name}: it has a mask of its own, where the mask of its weights would lie; "
                    "call that something else"
                )
        self._layers = {
            name: layer for name, layer in layers.items() if pattern is None or fits(layer, pattern)
        }
        self.modules: Sequence[PrunableModule] = [
            self._module(name, layer) for name, layer in self._layers.items()
        ]
        applied = positions(network, shape)
        prunable = sum(module.units for module in self.modules)
        self.costs = WeightCosts(
            np.array([applied[name] for name in self._layers], dtype=np.int64),
            sum(parameter.numel() for parameter in network.parameters()) - prunable,
            sum(
                applied[name] * layer.get_parameter("weight").numel()
                for name, layer in layers.items()
                if name not in self._layers
            ),
        )

    def _module(self, name: str, layer: nn.Module) -> PrunableModule:
        weight = layer.get_parameter("weight")
        count = weight.numel()
        cap = weights_left(layer)
        if self._pattern is not None:
            n, m = self._pattern
            cap = min(cap, count // m * n)
        every = range(count)
        member = Member(name, "weight", every, every)
        return PrunableModule(name, count, (member,), tuple(weight.shape), cap)

    @property
    def outputs(self) -> frozenset[str]:
        """The names of the layers that make the logits."""
        made = {id(layer.weight) for layer in output_layers(self._network, self._shape)}
        return frozenset(n for n, layer in self._layers.items() if id(layer.weight) in made)

    def allowed(self, module: PrunableModule) -> Tensor | None:
        """Return which weights [units] are not masked yet."""
        layer = self._layers[module.name]
        return mask_of(layer).flatten() if hasattr(layer, "mask") else None

    def select(self, module: PrunableModule, scores: Tensor, count: int) -> list[int]:
        """Return the weights with the highest scores that mask and pattern allow."""
        layer = self._layers[module.name]
        allowed = mask_of(layer).flatten()
        scores = scores.masked_fill(~allowed, -torch.inf)
        if self._pattern is not None:
            shape = layer.get_parameter("weight").shape
            best = best_of_groups(scores.view(shape), self._pattern).flatten()
            scores = scores.masked_fill(~best, -torch.inf)
        return highest(scores, count)

    def remove(self, kept: Mapping[str, Sequence[int]]) -> Structure:
        """Mask all but the kept weights of every module."""
        for name, layer in self._layers.items():
            mask = torch.zeros(layer.get_parameter("weight").numel(), dtype=torch.bool)
            mask[torch.tensor(kept[name], dtype=torch.long)] = True
            weight = layer.get_parameter("weight")
            attach(layer, mask.view(weight.shape).to(weight.device) & mask_of(layer))
            if weights_left(layer) != len(kept[name]):
                raise RuntimeError(f"{name}: weights that are masked already cannot be kept")
        hold(self._layers.values())
        return {name: [] for name in self._layers}


def maskable(network: nn.Module) -> dict[str, nn.Module]:
    """Return the layers that can have a mask, by name: convolutions and linear layers."""
    return weighted(network)


def attach(layer: nn.Module, mask: Tensor | None = None) -> None:
    """Give a layer a mask, shaped as its weight; by default one that keeps all weights."""
    weight = layer.get_parameter("weight")
    if mask is None:
        mask = torch.ones_like(weight, dtype=torch.bool)
    layer.register_buffer("mask", mask)


def _is_ours(layer: nn.Module) -> bool:
    mask, weight = layer.mask, layer.get_parameter("weight")
    return isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.shape == weight.shape


def mask_of(layer: nn.Module) -> Tensor:
    """Return a layer's mask, shaped as its weight; all true if it has none."""
    mask = getattr(layer, "mask", None)
    if isinstance(mask, Tensor):
        return mask
    return torch.ones_like(layer.get_parameter("weight"), dtype=torch.bool)


def masked(network: nn.Module) -> list[nn.Module]:
    """Return the layers that have a mask."""
    return [m for m in maskable(network).values() if hasattr(m, "mask")]


def take_masks(network: nn.Module, source: nn.Module) -> None:
    """Copy the masks of another network of the same structure."""
    for name, layer in maskable(source).items():
        if hasattr(layer, "mask"):
            attach(network.get_submodule(name), mask_of(layer).clone())


def weights_left(layer: nn.Module) -> int:
    """Count a layer's weights that are not masked."""
    mask = getattr(layer, "mask", None)
    whole = layer.get_parameter("weight").numel()
    return int(mask.sum()) if isinstance(mask, Tensor) else whole


@torch.no_grad()
def hold(layers: Iterable[nn.Module]) -> None:
    """Set masked weights to zero, in place."""
    each = list(layers)
    if each:
        weights: list[Tensor] = [layer.get_parameter("weight") for layer in each]
        held = [mask_of(layer).to(w) for layer, w in zip(each, weights, strict=True)]
        torch._foreach_mul_(weights, held)


class Held:
    """Masked weights, held at zero: `hold` for many steps, with masks that are cast once.

    Args:
        network: A network with masks, or without.
    """

    def __init__(self, network: nn.Module):
        self._layers = masked(network)
        self._weights: list[Tensor] = [layer.get_parameter("weight") for layer in self._layers]
        self._masks = [torch.empty_like(weight) for weight in self._weights]
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the masks, after they changed."""
        if self._layers:
            torch._foreach_copy_(self._masks, [mask_of(layer) for layer in self._layers])

    @torch.no_grad()
    def hold(self) -> None:
        """Set masked weights to zero, in place."""
        if self._layers:
            torch._foreach_mul_(self._weights, self._masks)


def fits(layer: nn.Module, pattern: tuple[int, int]) -> bool:
    """Return whether a layer's inputs lie along its rows, and their number is a multiple of m."""
    return axes(layer)[1] == 1 and widths(layer)[1] % pattern[1] == 0


def best_of_groups(scores: Tensor, pattern: tuple[int, int]) -> Tensor:
    """Return the mask, shaped as scores, of the n best of every m consecutive input channels."""
    n, m = pattern
    last = scores.movedim(1, -1)
    groups = last.reshape(-1, m)
    order = groups.argsort(dim=1, descending=True, stable=True)[:, :n]
    chosen = torch.zeros_like(groups, dtype=torch.bool).scatter_(1, order, True)
    return chosen.view(last.shape).movedim(-1, 1)
