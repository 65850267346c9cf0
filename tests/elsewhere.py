"""A researcher's own code, which knows nothing of mrsweep: a network, and its training."""

from __future__ import annotations

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    """Two convolutions and a linear layer, for images in [0,1] as they are."""

    def __init__(self, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.bn2 = nn.BatchNorm2d(32)
        self.fc = nn.Linear(32 * 16, classes)

    def forward(self, x):
        """Return logits."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.fc(x.flatten(1))


def build(shape, classes):
    """The network as mrsweep asks for one."""
    return Net(classes)


def digits():
    """The images in [0,1], and their labels."""
    images, labels = load_digits(return_X_y=True)
    pixels = torch.from_numpy(images / 16).float().mul(255).round().div(255)
    return pixels.view(-1, 1, 8, 8), torch.from_numpy(labels)


def trained(file, seed=0, epochs=3):
    """Train the network and save it as trainings do."""
    torch.manual_seed(seed)
    network, (images, labels) = Net(), digits()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(128):
            optimizer.zero_grad()
            F.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimizer.step()
    parallel = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"epoch": epochs, "state_dict": parallel, "lr": 0.1}, file)


def use(folder):
    """Load what mrsweep wrote and print what each file says of the first images."""
    from safetensors.torch import load_file

    images = digits()[0][:200]
    program = torch.export.load(f"{folder}/network.pt2").module()
    network = Net().eval()
    network.load_state_dict(load_file(f"{folder}/network.safetensors"), strict=True)
    for predict in (program, network):
        print("".join(map(str, predict(images).argmax(1).tolist())))  # noqa: T201
    if any(name in sys.modules for name in ("prune_core", "orchestrator", "results", "mrsweep")):
        raise SystemExit("this is to run without mrsweep")


if __name__ == "__main__":
    use(sys.argv[1])
