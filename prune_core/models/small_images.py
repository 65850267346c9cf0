"""Networks for small images that are neither in torchvision nor in timm."""

from __future__ import annotations

import itertools

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock


class ResNet(nn.Module):
    """A residual network for small images, with stages of 16, 32 and 64 channels.

    The image is halved between stages. Shortcuts are projections where the shape changes.

    Args:
        channels: The channels of an image.
        classes: The number of logits.
        blocks: The number of basic blocks in each stage.

    Source:
        He et al., 2016 (arXiv 1512.03385).
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
    """The block of `WideResNet`: normalisation, activation and convolution, twice.

    Where the shape changes, the shortcut is a projection that starts after the first activation.
    """

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
    """A wide residual network without dropout.

    Args:
        channels: The channels of an image.
        classes: The number of logits.
        depth: The number of layers with weights; it must be 6n + 4.
        widen: The factor on 16, 32 and 64 channels.

    Raises:
        ValueError: If there is no network of this depth.

    Source:
        Zagoruyko and Komodakis, 2016 (arXiv 1605.07146).
    """

    def __init__(self, channels: int, classes: int, depth: int, widen: int):
        super().__init__()
        blocks, rest = divmod(depth - 4, 6)
        if rest:
            raise ValueError(f"the depth of a wide ResNet must be 6n + 4; got {depth}")
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
    """Convolutions of 3x3 with BatchNorm, then one linear layer.

    Args:
        channels: The channels of an image.
        classes: The number of logits.
        layers: The channels of each convolution; ``"M"`` halves the image.
        side: The shorter side of an image in pixels. A halving of a single pixel is left out, so
            the network takes images of any size.

    Source:
        Simonyan and Zisserman, 2015 (arXiv 1409.1556).
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
    """Draw the weights of all convolutions anew (He et al., 2015, arXiv 1502.01852)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
