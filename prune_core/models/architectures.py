"""Architectures by name, and the networks that are built of them.

An architecture is a function ``(shape, classes) -> nn.Module``, where ``shape`` is the shape of an
image: channels, height, width. The module returns logits [n, classes]. `build` puts the
normalisation in front, so the module gets normalised images. Networks of torchvision and timm come
from `prune_core.models.library`, all others from `prune_core.models.small_images` and
`prune_core.models.adversarial_pruning`.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from prune_core.models.adversarial_pruning import VGG16, ResNet18
from prune_core.models.classifier import Classifier, Normalise
from prune_core.models.library import fit_patches, timm_network, torchvision_network
from prune_core.models.small_images import VGG, ResNet, WideResNet
from prune_core.models.state import evaluating, seeded
from prune_core.specs.registry import ARCHITECTURES, method

Shape = tuple[int, int, int]


def build(
    architecture: str,
    shape: Shape,
    classes: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    seed: int,
) -> Classifier:
    """Return a new network with random weights.

    Args:
        architecture: The name of the architecture.
        shape: The shape of an image: channels, height, width.
        classes: The number of logits.
        mean: The mean of each channel of the training images, in [0,1].
        std: The standard deviation of each channel of the training images, in [0,1].
        seed: Equal seeds give equal weights; global random states do not change.

    Raises:
        UnknownMethodError: If there is no such architecture.
        ValueError: If a library has no network of the name, or lazy layers are not used.
        TypeError: If the architecture is no network.
    """
    with seeded(seed, torch.device("cpu")):
        network = ARCHITECTURES.load(architecture)(shape, classes)
        if not isinstance(network, nn.Module):
            raise TypeError(f"it returns a {type(network).__name__}, and no torch.nn.Module")
        if any(map(is_lazy, network.parameters())):  # as large as what it reads first
            with evaluating(network), torch.no_grad():
                network(torch.zeros(2, *shape))
        if idle := [name for name, each in network.named_parameters() if is_lazy(each)]:
            raise ValueError(f"{', '.join(idle)}: lazy, and used by no forward; leave them out")
    return Classifier(Normalise(mean, std), network)


@method("resnet8", source="He et al., 2016 (arXiv 1512.03385); projection shortcuts")
def resnet8(shape: Shape, classes: int) -> nn.Module:
    """Three stages of 1 basic block each, 16 to 64 channels."""
    return ResNet(shape[0], classes, blocks=1)


@method("resnet14", source="He et al., 2016 (arXiv 1512.03385); projection shortcuts")
def resnet14(shape: Shape, classes: int) -> nn.Module:
    """Three stages of 2 basic blocks each, 16 to 64 channels."""
    return ResNet(shape[0], classes, blocks=2)


@method("resnet20", source="He et al., 2016 (arXiv 1512.03385); projection shortcuts")
def resnet20(shape: Shape, classes: int) -> nn.Module:
    """Three stages of 3 basic blocks each, 16 to 64 channels."""
    return ResNet(shape[0], classes, blocks=3)


@method("resnet56", source="He et al., 2016 (arXiv 1512.03385); projection shortcuts")
def resnet56(shape: Shape, classes: int) -> nn.Module:
    """Three stages of 9 basic blocks each, 16 to 64 channels."""
    return ResNet(shape[0], classes, blocks=9)


@method("resnet110", source="He et al., 2016 (arXiv 1512.03385); projection shortcuts")
def resnet110(shape: Shape, classes: int) -> nn.Module:
    """Three stages of 18 basic blocks each, 16 to 64 channels."""
    return ResNet(shape[0], classes, blocks=18)


@method("resnet18", source="He et al., 2016 (arXiv 1512.03385); torchvision")
def resnet18(shape: Shape, classes: int) -> nn.Module:
    """Four stages of two basic blocks each, 64 to 512 channels."""
    return torchvision_network("resnet18", shape, classes)


@method("resnet34", source="He et al., 2016 (arXiv 1512.03385); torchvision")
def resnet34(shape: Shape, classes: int) -> nn.Module:
    """Four stages of three to six basic blocks, 64 to 512 channels."""
    return torchvision_network("resnet34", shape, classes)


@method("resnet50", source="He et al., 2016 (arXiv 1512.03385); torchvision")
def resnet50(shape: Shape, classes: int) -> nn.Module:
    """Four stages of three to six bottlenecks, 64 to 2048 channels."""
    return torchvision_network("resnet50", shape, classes)


@method("wrn-16-4", source="Zagoruyko and Komodakis, 2016 (arXiv 1605.07146)")
def wrn_16_4(shape: Shape, classes: int) -> nn.Module:
    """A wide ResNet of depth 16, 4 times as wide."""
    return WideResNet(shape[0], classes, depth=16, widen=4)


@method("wrn-28-4", source="Zagoruyko and Komodakis, 2016 (arXiv 1605.07146)")
def wrn_28_4(shape: Shape, classes: int) -> nn.Module:
    """A wide ResNet of depth 28, 4 times as wide."""
    return WideResNet(shape[0], classes, depth=28, widen=4)


@method("wrn-28-10", source="Zagoruyko and Komodakis, 2016 (arXiv 1605.07146)")
def wrn_28_10(shape: Shape, classes: int) -> nn.Module:
    """A wide ResNet of depth 28, 10 times as wide."""
    return WideResNet(shape[0], classes, depth=28, widen=10)


@method("wrn-34-10", source="Zagoruyko and Komodakis, 2016 (arXiv 1605.07146)")
def wrn_34_10(shape: Shape, classes: int) -> nn.Module:
    """A wide ResNet of depth 34, 10 times as wide."""
    return WideResNet(shape[0], classes, depth=34, widen=10)


_VGG8: list[int | str] = [16, 16, "M", 32, 32, "M", 64, 64, 64]
_VGG11: list[int | str] = [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"]
_VGG16: list[int | str] = [
    64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M",
]  # fmt: skip
_VGG19: list[int | str] = [
    64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M",
    512, 512, 512, 512, "M", 512, 512, 512, 512, "M",
]  # fmt: skip


@method(
    "vgg8",
    source="Simonyan and Zisserman, 2015 (arXiv 1409.1556), narrowed; BatchNorm, one linear layer",
)
def vgg8(shape: Shape, classes: int) -> nn.Module:
    """Seven convolutions of 16 to 64 channels and a linear layer."""
    return VGG(shape[0], classes, _VGG8, min(shape[1:]))


@method(
    "vgg11", source="Simonyan and Zisserman, 2015 (arXiv 1409.1556); BatchNorm, one linear layer"
)
def vgg11(shape: Shape, classes: int) -> nn.Module:
    """Eight convolutions of 64 to 512 channels and a linear layer."""
    return VGG(shape[0], classes, _VGG11, min(shape[1:]))


@method(
    "vgg16", source="Simonyan and Zisserman, 2015 (arXiv 1409.1556); BatchNorm, one linear layer"
)
def vgg16(shape: Shape, classes: int) -> nn.Module:
    """Thirteen convolutions of 64 to 512 channels and a linear layer."""
    return VGG(shape[0], classes, _VGG16, min(shape[1:]))


@method(
    "vgg19", source="Simonyan and Zisserman, 2015 (arXiv 1409.1556); BatchNorm, one linear layer"
)
def vgg19(shape: Shape, classes: int) -> nn.Module:
    """Sixteen convolutions of 64 to 512 channels and a linear layer."""
    return VGG(shape[0], classes, _VGG19, min(shape[1:]))


@method("apb-resnet18", source="Piras et al., 2024 (arXiv 2409.01249): its base model")
def apb_resnet18(shape: Shape, classes: int) -> nn.Module:
    """ResNet-18 for small images, parameters named as in the adversarial pruning benchmark."""
    return ResNet18(shape[0], classes)


@method("apb-vgg16", source="Piras et al., 2024 (arXiv 2409.01249): its base model")
def apb_vgg16(shape: Shape, classes: int) -> nn.Module:
    """VGG-16 with three linear layers, named as in the adversarial pruning benchmark."""
    return VGG16(shape[0], classes, min(shape[1:]))


@method("mobilenetv2", source="Sandler et al., 2018 (arXiv 1801.04381); torchvision")
def mobilenetv2(shape: Shape, classes: int) -> nn.Module:
    """Seventeen inverted residuals around depthwise convolutions."""
    return torchvision_network("mobilenet_v2", shape, classes)


@method("densenet121", source="Huang et al., 2017 (arXiv 1608.06993); torchvision")
def densenet121(shape: Shape, classes: int) -> nn.Module:
    """Four blocks of 6 to 24 layers; each layer reads all earlier layers of its block."""
    return torchvision_network("densenet121", shape, classes)


@method("convnext-tiny", source="Liu et al., 2022 (arXiv 2201.03545); torchvision")
def convnext_tiny(shape: Shape, classes: int) -> nn.Module:
    """Four stages of large depthwise convolutions, 96 to 768 channels.

    Its stem cuts the image into patches of 4x4 pixels if its sides are 128 pixels or longer, and
    into smaller patches of side / 32 otherwise.
    """
    network = torchvision_network("convnext_tiny", shape, classes)
    patch = min(4, max(1, min(shape[1:]) // 32))
    return fit_patches(network, "features.0.0", patch)


@method("mobilevit-xxs", source="Mehta and Rastegari, 2022 (arXiv 2110.02178); timm")
def mobilevit_xxs(shape: Shape, classes: int) -> nn.Module:
    """Inverted residuals and transformer blocks, size XXS."""
    return timm_network("mobilevit_xxs", shape, classes)


@method("mobilevit-xs", source="Mehta and Rastegari, 2022 (arXiv 2110.02178); timm")
def mobilevit_xs(shape: Shape, classes: int) -> nn.Module:
    """Inverted residuals and transformer blocks, size XS."""
    return timm_network("mobilevit_xs", shape, classes)


@method("mobilevit-s", source="Mehta and Rastegari, 2022 (arXiv 2110.02178); timm")
def mobilevit_s(shape: Shape, classes: int) -> nn.Module:
    """Inverted residuals and transformer blocks, size S."""
    return timm_network("mobilevit_s", shape, classes)


@method("vit-tiny", source="Touvron et al., 2021 (arXiv 2012.12877); timm")
def vit_tiny(shape: Shape, classes: int) -> nn.Module:
    """Twelve transformer blocks of 192 channels and 3 heads.

    Images with sides of 128 pixels or more are cut into patches of 16x16 pixels, smaller images
    into 8 by 8 patches.
    """
    side = min(shape[1:])
    patch = 16 if side >= 128 else max(1, side // 8)
    return timm_network("vit_tiny_patch16_224", shape, classes, patch_size=patch)


@method("timm:<name>", source="Wightman, 2019; timm")
def timm(shape: Shape, classes: int, name: str) -> nn.Module:
    """Networks of timm, such as timm:resnetv2_50, fitted to small images."""
    return timm_network(name, shape, classes)


@method("torchvision:<name>", source="torchvision")
def torchvision(shape: Shape, classes: int, name: str) -> nn.Module:
    """Networks of torchvision, such as torchvision:mnasnet0_5, fitted to small images."""
    return torchvision_network(name, shape, classes)
