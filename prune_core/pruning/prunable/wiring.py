"""Wiring: a cut network computes what the whole one does with the same channels at zero, or not.

Torch-Pruning guesses from shapes which channel of a layer is which of the next. Where a network
turns, pads or flattens them in another order, the cut fits in shape and reads the wrong channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from prune_core.models.state import evaluating
from prune_core.pruning.prunable.groups import PrunableView, Shape

TOLERANCE = 0.05
"""The largest difference of logits, as a share of their standard deviation; rounding makes 0.001 at
most, in deep networks with BatchNorm, and channels in another order 0.4 at least."""


def is_cut_rightly(
    network: nn.Module, view: PrunableView, kept: Mapping[str, Sequence[int]], shape: Shape
) -> bool:
    """Cut a network's channels, in place; say whether it then computes the same as without them.

    What cannot be compared (random or infinite logits) counts as right.

    Args:
        network: On the CPU; its weights are lost.
        view: Its channels.
        kept: The channels that each module keeps.
        shape: The shape of an image.
    """
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(4, *shape, generator=draw)
    _vary(network, draw)
    _close(network, view, kept)
    with evaluating(network), torch.no_grad(), _Unmixed():
        closed, again = network(images), network(images)
        view.remove(kept)
        cut = network(images)
    if not torch.equal(closed, again) or not (closed.isfinite().all() and cut.isfinite().all()):
        return True
    return bool((closed - cut).abs().max() <= TOLERANCE * closed.std())


def _vary(network: nn.Module, draw: torch.Generator) -> None:
    """Give channels that are all alike values of their own: scales of one, shifts of zero."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.numel() > 1 and (parameter == parameter.flatten()[0]).all():
                values = torch.rand(parameter.shape, generator=draw)
                parameter.copy_(values / 10 if name.endswith("bias") else values + 0.5)


def _close(network: nn.Module, view: PrunableView, kept: Mapping[str, Sequence[int]]) -> None:
    """Set to zero all that makes, scales, shifts or reads the channels that are not kept."""
    single = dict(network.named_parameters())
    with torch.no_grad():
        for module in view.modules:
            gone = set(range(module.units)) - set(kept[module.name])
            for member in module.members:
                units = [u for u, c in zip(member.units, member.channels, strict=True) if c in gone]
                index = torch.tensor(units, dtype=torch.long)
                if member.layer in single:
                    lone = single[member.layer]
                    lone.index_fill_(_last_dimension(lone), index, 0)
                    continue
                for name, parameter in network.get_submodule(member.layer).named_parameters():
                    if name == "weight" or member.side != "in":
                        axis = member.axis if name == "weight" else 0
                        parameter.index_fill_(axis, index, 0)


def _last_dimension(parameter: Tensor) -> int:
    return max(dim for dim, size in enumerate(parameter.shape) if size > 1)


class _Unmixed(TorchFunctionMode):
    """Within it, statistics over channels do not change with channels that are zero.

    Normalisations divide by the root of the sum of squares, means are sums, a softmax is a sigmoid.
    BatchNorm takes the statistics of the batch, so that activations keep their size; what hardly
    varies in it is not made large, as rounding would be.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call a function of torch, or what stands for it."""
        del types
        return _INSTEAD.get(func, func)(*args, **(kwargs or {}))


def _layer_norm(
    values: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *_: Any,
    **__: Any,
) -> Tensor:
    dims = tuple(range(-len(normalized_shape), 0))
    values = F.normalize(values.flatten(dims[0]), dim=-1).view_as(values) * 8
    return _scaled(values, weight, bias)


def _group_norm(
    values: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *_: Any,
    **__: Any,
) -> Tensor:
    grouped = values.reshape(len(values), num_groups, -1)
    values = F.normalize(grouped, dim=-1).view_as(values) * 8
    shape = (1, -1, *[1] * (values.dim() - 2))
    parts = (None if part is None else part.view(shape) for part in (weight, bias))
    return _scaled(values, *parts)


def _scaled(values: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    values = values if weight is None else values * weight
    return values if bias is None else values + bias


def _batch_norm(
    values: Tensor,
    _mean: Tensor | None,
    _variance: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *_: Any,
    **__: Any,
) -> Tensor:
    return F.batch_norm(values, None, None, weight, bias, training=True, eps=0.1)


def _softmax(values: Tensor, *_: Any, **__: Any) -> Tensor:
    return values.sigmoid()


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
    return (query @ key.transpose(-1, -2)).sigmoid() @ value


def _kept_whole(values: Tensor, *_: Any, **__: Any) -> Tensor:
    return values


_INSTEAD: dict[Callable[..., Any], Callable[..., Any]] = {
    F.layer_norm: _layer_norm,
    F.rms_norm: _layer_norm,
    F.group_norm: _group_norm,
    F.batch_norm: _batch_norm,
    F.softmax: _softmax,
    torch.softmax: _softmax,
    Tensor.softmax: _softmax,
    torch.mean: torch.sum,
    Tensor.mean: Tensor.sum,
    F.scaled_dot_product_attention: _attention,
    F.dropout: _kept_whole,
}
