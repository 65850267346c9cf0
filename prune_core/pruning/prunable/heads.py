"""Attention heads as prunable units: a head is removed with its queries, keys and values.

The width of a head does not change.

Source:
    Michel et al., 2019 (arXiv 1905.10650).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from torch import nn

from prune_core.models.third_party import timm_attention
from prune_core.pruning.prunable.groups import Member, PrunableModule

if TYPE_CHECKING:
    from timm.layers.attention import Attention


@dataclass(frozen=True)
class Heads:
    """The heads of one of timm's attention layers.

    Attributes:
        name: The name of the layer.
        attention: The layer.
    """

    name: str
    attention: Attention

    @classmethod
    def of(cls, network: nn.Module) -> list[Self]:
        """Return the heads of every plain attention layer, without parts that we do not know."""
        attention = timm_attention()
        return [
            cls(name, module)
            for name, module in network.named_modules()
            if type(module) is attention
            and module.gate is None
            and not list(module.norm.children())
        ]

    @property
    def qkv(self) -> str:
        """The name of the layer that makes queries, keys and values; it names the module."""
        return f"{self.name}.qkv"

    @property
    def count(self) -> int:
        """The number of heads."""
        return int(self.attention.num_heads)

    def module(self) -> PrunableModule:
        """Return the heads as a prunable module."""
        heads, width = self.count, int(self.attention.head_dim)
        owner = tuple(unit // width for unit in range(heads * width))
        made = Member(self.qkv, "out", tuple(range(3 * heads * width)), owner * 3)
        read = Member(f"{self.name}.proj", "in", tuple(range(heads * width)), owner, 1)
        return PrunableModule(self.qkv, heads, (made, read), tuple(self.attention.qkv.weight.shape))

    def keep(self, heads: Sequence[int]) -> None:
        """Remove all heads but these, in place."""
        attention = self.attention
        if len(heads) == self.count:
            return
        width = int(attention.head_dim)
        read = torch.tensor([head * width + i for head in heads for i in range(width)])
        made = torch.cat([read + part * self.count * width for part in range(3)])
        device = attention.qkv.weight.device
        _narrow(attention.qkv, made.to(device), dim=0)
        _narrow(attention.proj, read.to(device), dim=1)
        attention.num_heads = len(heads)
        attention.attn_dim = len(heads) * width


def _narrow(layer: nn.Linear, kept: torch.Tensor, dim: int) -> None:
    layer.weight = nn.Parameter(layer.weight.detach().index_select(dim, kept))
    if dim == 0:
        layer.out_features = len(kept)
        if layer.bias is not None:
            layer.bias = nn.Parameter(layer.bias.detach().index_select(0, kept))
    else:
        layer.in_features = len(kept)
