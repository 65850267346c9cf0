"""Feature maps: how criteria see them, and what is computed of them."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

from prune_core.pruning.prunable.layers import axes

PLACES = 10
"""The number of places of each feature map at which ThiNet's reconstruction is sampled."""


def as_maps(layer: nn.Module, output: Tensor) -> Tensor:
    """Return a layer's output as [images, channels, height, width]; tokens lie along the width."""
    last = isinstance(layer, nn.Linear) or (
        isinstance(layer, nn.LayerNorm) and output.shape[1] != layer.normalized_shape[0]
    )
    if last:
        output = output.movedim(-1, 1)
    return output.reshape(*output.shape[:2], *(output.shape[2:] if output.dim() == 4 else (1, -1)))


def contributions(layer: nn.Module, inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Return what every input channel adds to the outputs of a layer at random places.

    Args:
        layer: A convolution or a linear layer.
        inputs: What it reads, [n, c, h, w] or [n, ..., c].
        generator: Draws `PLACES` places, and an output at each, for every image.

    Returns:
        Contributions [n * PLACES, c]; a row sums to the output drawn, less its bias.

    Source:
        Luo et al., 2017 (ThiNet, arXiv 1707.06342), eq. 4.
    """
    weight = layer.get_parameter("weight").detach()
    if isinstance(layer, _ConvNd) and not _unfolds(layer):
        return _by_convolutions(layer, weight, inputs, generator)
    weight = weight.reshape(*weight.shape[:2], -1)  # [out, c, kernel]
    if isinstance(layer, nn.Conv2d):
        patches = F.unfold(
            inputs,
            layer.kernel_size,
            dilation=layer.dilation,
            padding=layer.padding,  # type: ignore[arg-type] # `_unfolds` says that it is no name
            stride=layer.stride,
        )
        # [n, places, c, kernel]
        seen = patches.transpose(1, 2).reshape(len(inputs), -1, *weight.shape[1:])
    else:
        seen = inputs.reshape(len(inputs), -1, inputs.shape[-1]).unsqueeze(3)
    images = torch.arange(len(inputs)).repeat_interleave(PLACES)
    places = torch.randint(seen.shape[1], images.shape, generator=generator)
    outputs = torch.randint(len(weight), images.shape, generator=generator)
    device = inputs.device
    added: Tensor = seen[images.to(device), places.to(device)] * weight[outputs.to(device)]
    return added.sum(2)


def _unfolds(layer: _ConvNd) -> bool:
    plain = isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros"
    return plain and not isinstance(layer.padding, str)


def _by_convolutions(
    layer: _ConvNd, weight: Tensor, inputs: Tensor, generator: torch.Generator
) -> Tensor:
    """Return the same for other convolutions: each channel is convolved by itself."""
    out, channels = axes(layer)
    count = weight.shape[channels]
    alone = copy.copy(layer)
    alone.groups = alone.in_channels = alone.out_channels = count
    added = []
    for image in inputs:
        for output in torch.randint(weight.shape[out], (PLACES,), generator=generator).tolist():
            one = weight.select(out, output).unsqueeze(1)  # [c, 1, kernel], transposed or not
            alone._parameters = {"weight": nn.Parameter(one), "bias": None}
            made = alone.forward(image.unsqueeze(0))[0].flatten(1)  # past the layer's hooks
            added.append(made[:, torch.randint(made.shape[1], (), generator=generator)])
    return torch.stack(added)


def nuclear_falls(rows: Tensor) -> Tensor:
    """Return how much the nuclear norm of maps falls without each channel.

    Args:
        rows: Maps of images [images, channels, places], as doubles.

    Returns:
        Means over images [channels].

    Source:
        Sui et al., 2021 (CHIP, arXiv 2110.13981), eq. 4.
    """
    falls = torch.zeros(rows.shape[1], dtype=torch.double, device=rows.device)
    every = torch.arange(rows.shape[1], device=rows.device)
    for image in rows:
        if rows.shape[1] > rows.shape[2]:  # the smaller of the two Gram matrices
            gram = image.T @ image
            without = gram - image.unsqueeze(2) * image.unsqueeze(1)
        else:
            gram = image @ image.T
            without = gram.repeat(len(every), 1, 1)
            without[every, every] = 0
            without[every, :, every] = 0
        falls += _nuclear(gram) - _nuclear(without)
    return falls / len(rows)


def _nuclear(gram: Tensor) -> Tensor:
    """Return the sum of singular values of matrices [..., n, n] given as their Gram matrices."""
    squares: Tensor = torch.linalg.eigvalsh(gram)
    return squares.clamp_min(0).sqrt().sum(-1)


def greedy_order(inputs: Tensor) -> Tensor:
    """Return the order in which channels go if each time the output changes least.

    Args:
        inputs: What channels add to outputs [places, channels], as doubles.

    Returns:
        The place of each channel in the order, as a share [channels].

    Source:
        Luo et al., 2017 (ThiNet, arXiv 1707.06342), eq. 6.
    """
    gram = inputs.T @ inputs
    own = gram.diagonal().clone()
    with_removed = torch.zeros_like(own)
    order = torch.zeros_like(own)
    for place in range(len(own)):
        cost = own + 2 * with_removed
        channel = int(cost.argmin())
        order[channel] = place / len(own)
        own[channel] = torch.inf
        with_removed += gram[channel]
    return order
