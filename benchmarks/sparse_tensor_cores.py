"""Networks masked 2:4, run on sparse tensor cores (NVIDIA Ampere and later).

For inference and timing alone: weights are halves, so numbers differ from those of the sweep, whose
evaluations never come here. A convolution runs as a matrix product over its patches, since torch
has sparse kernels for matrix products only.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_core.pruning.prunable.masks import masked

Compress = Callable[[Tensor], Tensor]
ROWS, COLUMNS = 32, 64
"""A compressed matrix has multiples of so many rows and columns."""


def available(device: torch.device) -> bool:
    """Say whether a device has sparse tensor cores."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def accelerate(
    network: nn.Module,
    compress: Compress = torch.sparse.to_sparse_semi_structured,
    dtype: torch.dtype = torch.float16,
) -> tuple[nn.Module, list[str]]:
    """Return a copy of ``dtype`` with compressed layers, and the names of these.

    Compressed are layers masked 2:4 whose matrices have sides that the kernels take; the others
    stay as they are.
    """
    fast = copy.deepcopy(network).to(dtype).eval().requires_grad_(False)
    chosen = masked(fast)
    names = [name for name, layer in fast.named_modules() if layer in chosen and _fits(layer)]
    for name in names:
        layer = fast.get_submodule(name)
        compressed = _Patches if isinstance(layer, nn.Conv2d) else _Rows
        fast.set_submodule(name, compressed(layer, compress))
    return fast, names


def _matrix(layer: nn.Module) -> Tensor:
    """Return a layer's weight as a matrix [outputs, kernel places x inputs]."""
    weight = layer.get_parameter("weight").detach()
    return weight.movedim(1, -1).reshape(len(weight), -1).contiguous()


def _fits(layer: nn.Module) -> bool:
    matrix = _matrix(layer)
    if isinstance(layer, nn.Conv2d) and (layer.groups != 1 or isinstance(layer.padding, str)):
        return False
    if matrix.shape[0] % ROWS or matrix.shape[1] % COLUMNS:
        return False
    return int((matrix.reshape(-1, 4) != 0).sum(1).max()) <= 2


class _Rows(nn.Module):
    """A linear layer on a compressed weight."""

    def __init__(self, layer: nn.Module, compress: Compress):
        super().__init__()
        self.weight = nn.Parameter(compress(_matrix(layer)), requires_grad=False)
        self.bias = layer.bias

    def forward(self, inputs: Tensor) -> Tensor:
        bias = self.bias if isinstance(self.bias, Tensor) else None
        return F.linear(inputs, self.weight, bias)


class _Patches(_Rows):
    """A convolution as a matrix product over its patches."""

    def __init__(self, layer: nn.Conv2d, compress: Compress):
        super().__init__(layer, compress)
        self.kernel, self.dilation = layer.kernel_size, layer.dilation
        self.padding, self.stride = layer.padding, layer.stride

    def forward(self, inputs: Tensor) -> Tensor:
        """Return [n, outputs, height, width] of inputs [n, c, h, w]."""
        count, channels, *sides = inputs.shape
        patches = F.unfold(inputs, self.kernel, self.dilation, self.padding, self.stride)  # type: ignore[arg-type] # padding by name was refused
        rows = patches.view(count, channels, -1, patches.shape[2]).permute(0, 3, 2, 1)
        outputs = super().forward(rows.reshape(count * patches.shape[2], -1))
        height = self._places(sides[0], 0)
        return outputs.view(count, height, -1, outputs.shape[1]).permute(0, 3, 1, 2)

    def _places(self, side: int, axis: int) -> int:
        reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1
        return (side + 2 * int(self.padding[axis]) - reach) // self.stride[axis] + 1
