"""The two networks of the adversarial pruning benchmark, under its own names of parameters.

Files of weights that were made for its base models, and for the many models that share their
names (RobustBench's ResNet-18 among them), load into them strictly, and ours load there.

Source:
    Piras et al., 2024 (arXiv 2409.01249).
"""

from __future__ import annotations

from torch import Tensor, nn

from prune_core.models.small_images import initialise


class Block(nn.Module):
    """The basic block of `ResNet18`; a projection called ``shortcut`` where the shape changes."""

    def __init__(self, before: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.shortcut = nn.Sequential()
        if stride != 1 or before != width:
            projection = nn.Conv2d(before, width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(width))

    def forward(self, features: Tensor) -> Tensor:
        """Return features [n, width, h / stride, w / stride]."""
        inner = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(features)))))
        summed: Tensor = self.relu(inner + self.shortcut(features))
        return summed


class ResNet18(nn.Module):
    """Four stages of two `Block`, 64 to 512 channels; the stem keeps the size of the image.

    Args:
        channels: The channels of an image.
        classes: The number of logits.
    """

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(Block(64, 64, 1), Block(64, 64, 1))
        self.layer2 = nn.Sequential(Block(64, 128, 2), Block(128, 128, 1))
        self.layer3 = nn.Sequential(Block(128, 256, 2), Block(256, 256, 1))
        self.layer4 = nn.Sequential(Block(256, 512, 2), Block(512, 512, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(512, classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [n, classes]."""
        features = self.relu(self.bn1(self.conv1(images)))
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        logits: Tensor = self.linear(self.pool(features).flatten(1))
        return logits


class VGG16(nn.Module):
    """Thirteen convolutions of 3x3 without bias, BatchNorm, three linear layers.

    Args:
        channels: The channels of an image.
        classes: The number of logits.
        side: The shorter side of an image in pixels; a halving of a single pixel is left out.
    """

    def __init__(self, channels: int, classes: int, side: int):
        super().__init__()
        features: list[nn.Module] = []
        before = channels
        for stage, (width, count) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))):
            if stage and side >= 2:
                features.append(nn.MaxPool2d(2))
                side //= 2
            for _ in range(count):
                convolution = nn.Conv2d(before, width, 3, padding=1, bias=False)
                features += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                before = width
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(2)
        self.classifier = nn.Sequential(
            nn.Linear(before * 4, 256),
            nn.ReLU(inplace=True),
            nn.Linear(256, 256),
            nn.ReLU(inplace=True),
            nn.Linear(256, classes),
        )
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [n, classes]."""
        logits: Tensor = self.classifier(self.avgpool(self.features(images)).flatten(1))
        return logits
