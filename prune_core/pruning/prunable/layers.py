"""Layers with weights to prune: their kinds, what a weight's dimensions are, what cannot be cut."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils.parametrize import is_parametrized

from prune_core.errors import UnprunableError

WEIGHTED = (_ConvNd, nn.Linear)
"""Convolutions of any dimension, transposed ones too, and linear layers."""
NORMS = (_BatchNorm, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, _InstanceNorm, nn.PReLU)
"""Layers with parameters along the channels that they pass on."""


def weighted(network: nn.Module) -> dict[str, nn.Module]:
    """Return the layers that can be pruned, by name; of those with one weight the first."""
    layers: dict[int, tuple[str, nn.Module]] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, WEIGHTED):
            layers.setdefault(id(layer.weight), (name, layer))
    return dict(layers.values())


def widths(layer: nn.Module) -> tuple[int, int]:
    """Return how many outputs a layer makes, and how many inputs each of them reads."""
    out, inputs = axes(layer)
    shape = layer.get_parameter("weight").shape
    return int(shape[out]), int(shape[inputs])


def axes(layer: nn.Module) -> tuple[int, int]:
    """Return along which dimensions of a layer's weight its outputs and its inputs lie."""
    swapped = isinstance(layer, _ConvNd) and layer.transposed and layer.groups == 1
    return (1, 0) if swapped else (0, 1)


INSTEAD = "granularity weight"
"""What always works where channels cannot be cut."""


def refuse_computed(network: nn.Module) -> None:
    """Refuse layers whose weight is computed from others, as by weight normalisation.

    Raises:
        UnprunableError: It names the first.
    """
    for name, layer in network.named_modules():
        if isinstance(layer, WEIGHTED) and "weight" in layer._buffers:
            raise UnprunableError(f"{name}: its weight is a buffer; make it a parameter")
        # The older functions of torch.nn.utils make the weight a plain attribute.
        hooked = isinstance(layer, WEIGHTED) and "weight" not in layer._parameters
        if is_parametrized(layer) or hooked:
            raise UnprunableError(
                f"{name}: its weight is computed by a parametrization or a hook, so that cutting "
                "it changes nothing; write it in with torch.nn.utils.parametrize."
                "remove_parametrizations, or remove_weight_norm, remove_spectral_norm or "
                "prune.remove of torch.nn.utils"
            )


def refuse_uncuttable(network: nn.Module) -> None:
    """Refuse layers that Torch-Pruning does not cut rightly.

    Raises:
        UnprunableError: It names the first.
    """
    refuse_computed(network)
    for name, layer in network.named_modules():
        if what := _uncuttable(layer):
            raise UnprunableError(f"{name}: {what} cannot be pruned by channel; use {INSTEAD}")
    names: dict[int, str] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        if (first := names.setdefault(id(parameter), name)) != name:
            raise UnprunableError(
                f"{name}: a parameter shared with {first} cannot be pruned by channel; "
                f"use {INSTEAD}"
            )


def _uncuttable(layer: nn.Module) -> str | None:
    """Say what a layer is, if Torch-Pruning cuts it wrongly or its cost is not known."""
    if isinstance(layer, _ConvNd):
        inputs, outputs = layer.in_channels, layer.out_channels
        if layer.groups == inputs != outputs and inputs > 1:
            return f"a depthwise convolution with {outputs} outputs for {inputs} channels"
        if layer.groups not in (1, inputs):
            return f"a convolution in {layer.groups} groups"
    if isinstance(layer, nn.LayerNorm | nn.RMSNorm) and len(layer.normalized_shape) > 1:
        return f"a normalisation of maps {list(layer.normalized_shape)}"
    if isinstance(layer, nn.GroupNorm) and layer.num_groups > 1:
        return f"a normalisation of {layer.num_groups} groups of channels"
    if isinstance(layer, _InstanceNorm) and layer.track_running_stats:
        return "an instance normalisation with running statistics"
    if isinstance(layer, nn.MultiheadAttention):
        return "torch's MultiheadAttention (in timm's networks, heads can)"
    if isinstance(layer, nn.RNNBase | nn.Bilinear):
        return f"a layer {type(layer).__name__}"
    return None
