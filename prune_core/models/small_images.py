"""Networks for small images that neither torchvision nor timm has."""

from __future__ import annotations

import itertools

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock


class ResNet(nn.Module):
    """The residual network of He et al. (2016) for small images: stages of 16, 32, 64 channels.

    A 3x3 stem, ``blocks`` basic blocks a stage, the image halved between stages; shortcuts are
    projections where the shape changes.
    """

    def __init__(self, channels: int, classes: int, blocks: int):
        super().__init__()
        widths = (16, 32, 64)
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
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [n, classes]."""
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


class WideBlock(nn.Module):
    """Normalisation, activation, convolution, twice; the shortcut starts after the activation."""

    def __init__(self, before: int, width: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.relu = nn.ReLU()
        changes = stride != 1 or before != width
        self.shortcut = nn.Conv2d(before, width, 1, stride, bias=False) if changes else None

    def forward(self, features: Tensor) -> Tensor:
        """Return features [n, width, h / stride, w / stride]."""
        active = self.relu(self.bn1(features))
        passed = features if self.shortcut is None else self.shortcut(active)
        summed: Tensor = passed + self.conv2(self.relu(self.bn2(self.conv1(active))))
        return summed


class WideResNet(nn.Module):
    """The wide residual network of Zagoruyko and Komodakis (2016), without dropout."""

    def __init__(self, channels: int, classes: int, depth: int, widen: int):
        super().__init__()
        blocks, rest = divmod(depth - 4, 6)
        if rest:
            raise ValueError(f"depth of a wide ResNet must be 6n + 4; got {depth}")
        widths = (16, 16 * widen, 32 * widen, 64 * widen)
        self.conv = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.stages = nn.Sequential(
            *(
                nn.Sequential(
                    WideBlock(before, width, stride=1 if index == 0 else 2),
                    *(WideBlock(width, width, stride=1) for _ in range(blocks - 1)),
                )
                for index, (before, width) in enumerate(itertools.pairwise(widths))
            )
        )
        self.bn = nn.BatchNorm2d(widths[-1])
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(widths[-1], classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [n, classes]."""
        features = self.relu(self.bn(self.stages(self.conv(images))))
        logits: Tensor = self.classifier(self.pool(features).flatten(1))
        return logits


class VGG(nn.Module):
    """3x3 convolutions with BatchNorm ("M" halves the image), then one linear layer.

    A halving that would leave less than one pixel is left out, so that it takes any image.
    """

    def __init__(self, channels: int, classes: int, layers: list[int | str], side: int):
        super().__init__()
        features: list[nn.Module] = []
        before = channels
        for layer in layers:
            if isinstance(layer, int):
                convolution = nn.Conv2d(before, layer, 3, padding=1)
                features += [convolution, nn.BatchNorm2d(layer), nn.ReLU(inplace=True)]
                before = layer
            elif side >= 2:
                features.append(nn.MaxPool2d(2))
                side //= 2
        self.features = nn.Sequential(*features)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(before, classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [n, classes]."""
        logits: Tensor = self.classifier(self.pool(self.features(images)).flatten(1))
        return logits


def initialise(network: nn.Module) -> None:
    """Draw convolutions as He et al. (2015) do."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
