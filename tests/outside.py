"""Methods from outside the package, as a user would write them."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from prune_core.specs.registry import method


def smallest_first(layer):
    """The largest absolute weight."""
    return layer.weight.abs().amax(1)


@method("signed", source="nobody", needs=("gradients",), traits=("comparable",))
def signed(layer):
    """The signed Taylor term."""
    return (layer.weight * layer.gradient).sum(1)


def raises(layer):
    """Always raises."""
    raise RuntimeError("this criterion is broken")


def wrong_shape(layer):
    """One score too many."""
    return torch.zeros(len(layer.weight) + 1)


def out_of_memory_once(layer):
    """Run out of memory the first time."""
    mark = Path(os.environ["MRSWEEP_TEST_MARK"])
    if not mark.exists():
        mark.write_text("died")
        raise MemoryError("no memory left")
    return layer.weight.abs().sum(1)


def halves(evidence, dial):
    """Every module alike."""
    return dict.fromkeys(evidence.units, dial)


MOVES_BY = 0.0


def moves(network, images, labels, threat):
    """Brighten every pixel, whatever the threat."""
    return images + MOVES_BY


class LayerScaled(torch.nn.Module):
    """A network with parameters and buffers of its own, outside any layer that torch knows."""

    def __init__(self, channels, classes):
        super().__init__()
        self.first = torch.nn.Conv2d(channels, 16, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(16)
        self.scale = torch.nn.Parameter(torch.rand(1))
        self.register_buffer("shift", torch.rand(1))
        self.head = torch.nn.Linear(16, classes)

    def forward(self, images):
        """Return logits."""
        features = self.norm(self.first(images)).relu().mean((2, 3))
        return self.head(features * self.scale + self.shift)


def layer_scaled(shape, classes):
    """A small network of the user's own."""
    return LayerScaled(shape[0], classes)


def no_tensor(shape, classes):
    """A network that returns a list."""
    network = LayerScaled(shape[0], classes)
    network.register_forward_hook(lambda layer, images, logits: [logits])
    return network


def by_signals(layer):
    """It looks at the test images."""
    return layer.weight.abs().amax(1) + layer.signals.data.test.labels.sum()


def by_file(layer):
    """It reads a file that it does not declare."""
    return layer.weight.abs().amax(1) + len(Path(os.environ["MRSWEEP_TEST_MARK"]).read_text())
