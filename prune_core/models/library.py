"""Library networks fitted to small images and any number of channels.

torchvision's and timm's networks are made for images of 224 pixels: their stems shrink an image
fourfold before the first block. Where images have `SMALL` pixels or fewer, the stem keeps their
size, as the field does for CIFAR.
"""

from __future__ import annotations

import difflib
import inspect
from typing import Any

import torch
from torch import nn

from prune_core.models.state import evaluating

SMALL = 64
"""Images of up to so many pixels a side get the stem for small images."""
STEM_POOLS = ("maxpool", "features.pool0", "stem.pool")
"""What torchvision and timm call a pooling right behind the stem."""


def torchvision_network(name: str, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return a network of torchvision's, without weights, for images of ``shape``.

    Raises ValueError for a name that torchvision does not know.
    """
    from torchvision import models

    if fault := check_name(f"torchvision:{name}"):
        raise ValueError(fault)
    options = {"image_size": min(shape[1:])} if name.startswith("vit_") else {}
    network: nn.Module = models.get_model(name, weights=None, num_classes=classes, **options)
    return fit_stem(network, shape)


def timm_network(name: str, shape: tuple[int, int, int], classes: int, **options: Any) -> nn.Module:
    """Return a network of timm's, without weights, for images of ``shape``.

    Raises ValueError for a name that timm does not know.
    """
    import timm

    if fault := check_name(f"timm:{name}"):
        raise ValueError(fault)
    if _has_parameter(_class_of(name), "img_size"):
        options = {"img_size": shape[1:], **options}
    network: nn.Module = timm.create_model(
        name, pretrained=False, num_classes=classes, in_chans=shape[0], **options
    )
    return fit_stem(network, shape)


def check_name(architecture: str) -> str | None:
    """Say what is wrong with the name of a library's network; None where nothing is."""
    library, _, name = architecture.partition(":")
    if library == "timm":
        import timm

        known = timm.list_models()
    elif library == "torchvision":
        from torchvision import models

        known = models.list_models(module=models)
    else:
        return None
    if name in known:
        return None
    near = difflib.get_close_matches(name, known, n=5, cutoff=0.4)
    return f"{library} has no network {name!r}; the nearest: {', '.join(near) or 'none'}"


def _class_of(name: str) -> type[nn.Module]:
    """Return the class of a timm network, found without the memory that its weights take."""
    import timm

    with torch.device("meta"):
        return type(timm.create_model(name, pretrained=False))


def _has_parameter(of: type[nn.Module], name: str) -> bool:
    """Say whether a class, or one that it hands its arguments to, takes one called ``name``."""
    return any(name in inspect.signature(base).parameters for base in of.__mro__[:-2])


def fit_stem(network: nn.Module, shape: tuple[int, int, int]) -> nn.Module:
    """Give the first convolution the images' channels, and for small images stride 1.

    A convolution that cuts an image into patches (its stride is its kernel) keeps its stride, and
    so does one whose output something else must match (a stem of several branches). A max-pooling
    right behind the stem, under the names that torchvision and timm use, is left out.
    """
    channels, *sides = shape
    name, first = next((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
    patches = first.kernel_size == first.stride
    if first.in_channels != channels:
        first = convolution_like(first, in_channels=channels)
        network.set_submodule(name, first)
    if max(sides) <= SMALL and not patches:
        layers = dict(network.named_modules())
        pools = {pool: layers[pool] for pool in STEM_POOLS if pool in layers}
        stride, first.stride = first.stride, (1, 1)
        for pool in pools:
            network.set_submodule(pool, nn.Identity())
        if not _runs(network, shape):
            first.stride = stride
            for pool, layer in pools.items():
                network.set_submodule(pool, layer)
    return network


def _runs(network: nn.Module, shape: tuple[int, int, int]) -> bool:
    try:
        with evaluating(network), torch.no_grad():
            network(torch.zeros(1, *shape))
    except RuntimeError:
        return False
    return True


def fit_patches(network: nn.Module, name: str, patch: int) -> nn.Module:
    """Let the convolution called ``name`` cut the image into squares of ``patch`` pixels."""
    layer = network.get_submodule(name)
    if not isinstance(layer, nn.Conv2d):
        raise TypeError(f"{name} is a {type(layer).__name__}, not a convolution")
    network.set_submodule(name, convolution_like(layer, kernel_size=patch, stride=patch))
    return network


def convolution_like(layer: nn.Conv2d, **changes: Any) -> nn.Conv2d:
    """Return a new convolution with the settings of ``layer``, some of them changed."""
    settings: dict[str, Any] = {
        "in_channels": layer.in_channels,
        "out_channels": layer.out_channels,
        "kernel_size": layer.kernel_size,
        "stride": layer.stride,
        "padding": layer.padding,
        "bias": layer.bias is not None,
    }
    return nn.Conv2d(**(settings | changes))
