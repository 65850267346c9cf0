"""Architectures: networks for small images, the normalisation a layer inside.

An architecture is a function ``(channels, classes) -> nn.Module`` whose last linear layer is the
classifier; it is given images in [0,1] that `build` has normalised for it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock
from torchvision.models.vgg import make_layers

from prune_core.registry import ARCHITECTURES, method


class Normalise(nn.Module):
    """Shift and scale images in [0,1] by the training split's statistics."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return normalised images [n, c, h, w]."""
        return (images - self.mean) / self.std


class Classifier(nn.Module):
    """A network behind its normalisation: images in [0,1] go in, logits [n, classes] come out."""

    def __init__(self, normalise: Normalise, network: nn.Module):
        super().__init__()
        self.normalise = normalise
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [n, classes] of images [n, c, h, w] in [0,1]."""
        logits: Tensor = self.network(self.normalise(images))
        return logits


def build(
    architecture: str,
    shape: tuple[int, int, int],
    classes: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    seed: int,
) -> Classifier:
    """Return a freshly initialised network; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ARCHITECTURES.load(architecture)(shape[0], classes)
    return Classifier(Normalise(mean, std), network)


class _ResNet(nn.Module):
    """A residual network with a 3x3 stem, a stage a width, halving the image between stages."""

    def __init__(self, channels: int, classes: int, blocks: int, widths: tuple[int, ...]):
        super().__init__()
        self.conv = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        inputs = (widths[0], *widths)
        self.stages = nn.Sequential(
            *(
                _stage(before, width, blocks, stride=1 if index == 0 else 2)
                for index, (before, width) in enumerate(zip(inputs, widths, strict=False))
            )
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(widths[-1], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        features = self.stages(self.relu(self.bn(self.conv(images))))
        logits: Tensor = self.classifier(self.pool(features).flatten(1))
        return logits


def _stage(before: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    shortcut = (
        nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        if stride != 1 or before != width
        else None
    )
    first = BasicBlock(before, width, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(width, width) for _ in range(blocks - 1)))


class _VGG(nn.Module):
    """3x3 convolutions with BatchNorm ("M" halves the image), then one linear layer."""

    def __init__(self, channels: int, classes: int, layers: list[int | str]):
        super().__init__()
        self.features = make_layers(layers, batch_norm=True)
        first = self.features[0]
        if channels != 3:
            self.features[0] = nn.Conv2d(channels, first.out_channels, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(int(next(x for x in reversed(layers) if x != "M")), classes)
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.pool(self.features(images)).flatten(1))
        return logits


@method("resnet8", source="He et al., 2016; projection shortcuts")
def resnet8(channels: int, classes: int) -> nn.Module:
    """Three stages of one block, 16 to 64 channels (78 thousand parameters)."""
    return _ResNet(channels, classes, blocks=1, widths=(16, 32, 64))


@method("resnet14", source="He et al., 2016; projection shortcuts")
def resnet14(channels: int, classes: int) -> nn.Module:
    """Three stages of two blocks, 16 to 64 channels (175 thousand parameters)."""
    return _ResNet(channels, classes, blocks=2, widths=(16, 32, 64))


@method("resnet18", source="He et al., 2016, with the stem for small images")
def resnet18(channels: int, classes: int) -> nn.Module:
    """Four stages of two blocks, 64 to 512 channels (11.2 million parameters)."""
    return _ResNet(channels, classes, blocks=2, widths=(64, 128, 256, 512))


@method("vgg8", source="Simonyan and Zisserman, 2015, narrowed; BatchNorm")
def vgg8(channels: int, classes: int) -> nn.Module:
    """Seven convolutions of 16 to 64 channels and a linear layer (109 thousand parameters)."""
    return _VGG(channels, classes, [16, 16, "M", 32, 32, "M", 64, 64, 64])


@method("vgg11", source="Simonyan and Zisserman, 2015; BatchNorm, one linear layer")
def vgg11(channels: int, classes: int) -> nn.Module:
    """Eight convolutions of 64 to 512 channels and a linear layer (9.2 million parameters)."""
    return _VGG(channels, classes, [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"])
