"""Networks of torchvision and timm, fitted to small images and any number of channels.

They are made for images of 224 pixels: their stems shrink an image fourfold before the first block.
For images of up to `SMALL` pixels the stem keeps the size, as is usual for CIFAR.
"""

from __future__ import annotations

import difflib
import inspect
from typing import Any

import torch
from torch import nn

from prune_core.models.state import evaluating

SMALL = 64
"""Images with sides of up to so many pixels get the stem for small images."""
STEM_POOLS = ("maxpool", "features.pool0", "stem.pool")
"""What torchvision and timm call a pooling layer directly after the stem."""

AUXILIARY = ("googlenet", "inception_v3")
"""Networks of torchvision that return other logits too while they are trained, if they may."""


def torchvision_network(name: str, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return an untrained network of torchvision.

    Args:
        name: The name that torchvision gives it.
        shape: The shape of an image: channels, height, width.
        classes: The number of logits.

    Raises:
        ValueError: If torchvision has no network of this name.
    """
    from torchvision import models

    if fault := check_name(f"torchvision:{name}"):
        raise ValueError(fault)
    options: dict[str, Any] = {"image_size": min(shape[1:])} if name.startswith("vit_") else {}
    if name in AUXILIARY:
        options["aux_logits"] = False
    network: nn.Module = models.get_model(name, weights=None, num_classes=classes, **options)
    return fit_stem(network, shape)


def timm_network(name: str, shape: tuple[int, int, int], classes: int, **options: Any) -> nn.Module:
    """Return an untrained network of timm.

    Args:
        name: The name that timm gives it.
        shape: The shape of an image: channels, height, width.
        classes: The number of logits.
        options: Further arguments of ``timm.create_model``.

    Raises:
        ValueError: If timm has no network of this name.
    """
    from prune_core.models.third_party import load_timm

    if fault := check_name(f"timm:{name}"):
        raise ValueError(fault)
    if _has_parameter(_class_of(name), "img_size"):
        options = {"img_size": shape[1:], **options}
    network: nn.Module = load_timm().create_model(
        name, pretrained=False, num_classes=classes, in_chans=shape[0], **options
    )
    return fit_stem(network, shape)


def check_name(architecture: str) -> str | None:
    """Return what is wrong with a name such as ``timm:resnetv2_50``; None if nothing is.

    Names without a library's prefix are not checked.
    """
    library, _, name = architecture.partition(":")
    if library == "timm":
        from prune_core.models.third_party import load_timm

        known = load_timm().list_models()
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
    """Return the class of a timm network without allocating its weights."""
    from prune_core.models.third_party import load_timm

    with torch.device("meta"):
        return type(load_timm().create_model(name, pretrained=False))


def _has_parameter(of: type[nn.Module], name: str) -> bool:
    """Return whether a class, or one that it inherits from, takes an argument called ``name``."""
    return any(name in inspect.signature(base).parameters for base in of.__mro__[:-2])


def fit_stem(network: nn.Module, shape: tuple[int, int, int]) -> nn.Module:
    """Fit the first convolution of a network to its images, in place.

    It gets the images' number of channels. For small images it also gets stride 1, and a pooling
    layer directly after it becomes the identity (see `STEM_POOLS`). The stride stays if the
    convolution cuts the image into patches, or if the network does not run without it, as when its
    stem has several branches.

    Args:
        network: A network whose first convolution reads the image.
        shape: The shape of an image: channels, height, width.

    Returns:
        The same network.
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
    """Replace a convolution by one that cuts the image into square patches, in place.

    Args:
        network: The network that holds the convolution.
        name: The convolution's name in it.
        patch: The side of a patch in pixels.

    Returns:
        The same network.

    Raises:
        TypeError: If ``name`` is not a convolution.
    """
    layer = network.get_submodule(name)
    if not isinstance(layer, nn.Conv2d):
        raise TypeError(f"{name} is a {type(layer).__name__}, not a convolution")
    network.set_submodule(name, convolution_like(layer, kernel_size=patch, stride=patch))
    return network


def convolution_like(layer: nn.Conv2d, **changes: Any) -> nn.Conv2d:
    """Return a new convolution with the settings of ``layer``, except for ``changes``."""
    settings: dict[str, Any] = {
        "in_channels": layer.in_channels,
        "out_channels": layer.out_channels,
        "kernel_size": layer.kernel_size,
        "stride": layer.stride,
        "padding": layer.padding,
        "bias": layer.bias is not None,
    }
    return nn.Conv2d(**(settings | changes))
