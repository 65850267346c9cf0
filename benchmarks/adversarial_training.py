"""Our PGD training step against the same loop written with torchattacks and a DataLoader.

Equal networks, images, augmentation, optimizer, attack and number of steps; one thread each, no
loader processes. Times are medians over alternating repeats, so that both meet the same machine.
Run: python benchmarks/adversarial_training.py [FOLDER OF CIFAR-10 AS PARQUET]
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch
import torchattacks
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms
from torchvision.transforms.functional import to_pil_image

from prune_core.attacks.evaluation import evaluate
from prune_core.data import datasets
from prune_core.data.augmentation import flip_and_shift
from prune_core.data.splits import Split
from prune_core.models import architectures
from prune_core.specs.compute import Compute
from prune_core.specs.recipes import Training
from prune_core.specs.settings import Dataset, Threat
from prune_core.specs.stages import Dense, Evaluation
from prune_core.training import loop as training

CPU = torch.device("cpu")
BATCH = 128
COMPUTES = {
    "float32": Compute(),
    "float32, channels-last": Compute(channels_last=True),
    "bfloat16, channels-last": Compute(precision="bfloat16", channels_last=True),
}


class Pictures(TorchDataset[tuple[torch.Tensor, int]]):
    """A split as the peers hold it: pictures, transformed one by one."""

    def __init__(self, split: Split, augment: bool):
        self._pictures = [to_pil_image(image) for image in split.images]
        self._labels = split.labels.tolist()
        steps: list[object] = []
        if augment:
            side = split.images.shape[-1]
            steps = [transforms.RandomCrop(side, padding=4), transforms.RandomHorizontalFlip()]
        self._transform = transforms.Compose([*steps, transforms.ToTensor()])

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self._transform(self._pictures[index]), self._labels[index]


def peer(network: nn.Module, data: datasets.Dataset, recipe: Training, threat: Threat) -> None:
    """Train as the peers write it."""
    loader = DataLoader(Pictures(data.train, data.augment is flip_and_shift), BATCH, shuffle=True)
    optimizer = torch.optim.SGD(
        network.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay
    )
    steps = recipe.epochs * len(loader)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    count = recipe.attack_steps or 0
    attack = torchattacks.PGD(network, threat.eps, 2.5 * threat.eps / count, count)
    network.train()
    for _ in range(recipe.epochs):
        for images, labels in loader:
            attacked = attack(images, labels)
            optimizer.zero_grad()
            F.cross_entropy(network(attacked), labels).backward()
            optimizer.step()
            schedule.step()
    network.eval()


def ours(
    network: nn.Module, data: datasets.Dataset, recipe: Training, threat: Threat, compute: Compute
) -> None:
    """Train as mrsweep does, less its look at the validation images after every epoch."""
    unwatched = replace(data, validation=data.validation.take(torch.arange(1)))
    training.fit(network, unwatched, recipe, threat, "benchmark", compute=compute)


def fresh(architecture: str, data: datasets.Dataset, seed: int = 0) -> nn.Module:
    """Return a new network."""
    torch.manual_seed(seed)
    return architectures.build(
        architecture, data.shape, data.classes, data.mean, data.std, seed
    ).eval()


def speeds(
    architecture: str, data: datasets.Dataset, recipe: Training, threat: Threat, repeats: int
) -> None:
    """Print images a second."""
    network = fresh(architecture, data)
    ways: dict[str, Callable[[nn.Module], None]] = {
        "torchattacks and DataLoader": lambda net: peer(net, data, recipe, threat)
    }
    for name, compute in COMPUTES.items():
        ways[name] = lambda net, c=compute: ours(net, data, recipe, threat, c)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            mine = copy.deepcopy(network)
            start = time.perf_counter()
            way(mine)
            times[name].append(time.perf_counter() - start)
    images = len(data.train) * recipe.epochs
    side = data.shape[-1]
    for name, seconds in times.items():
        taken = statistics.median(seconds)
        ratio = statistics.median(
            theirs / own
            for theirs, own in zip(times["torchattacks and DataLoader"], seconds, strict=True)
        )
        print(
            f"| {architecture}, {side}x{side} | {name} | {images / taken:.0f} | {ratio:.2f} |",
            flush=True,
        )


def robustness(data: datasets.Dataset, threat: Threat, epochs: int, seeds: int) -> None:
    """Print accuracies after training to the end."""
    recipe = Training(objective="pgd", epochs=epochs, lr=0.05, attack_steps=10).resolved()
    spec = Dataset(name="digits")
    stage = Dense(dataset=spec, architecture="resnet8", training=recipe, threat=threat, seed=0)
    ways: dict[str, Callable[[nn.Module], None]] = {
        "torchattacks and DataLoader": lambda net: peer(net, data, recipe, threat)
    }
    for name, compute in COMPUTES.items():
        ways[name] = lambda net, c=compute: ours(net, data, recipe, threat, c)
    for name, way in ways.items():
        accuracies: dict[str, list[float]] = {"clean": [], "pgd-20": []}
        for seed in range(seeds):
            network = fresh("resnet8", data, seed)
            way(network)
            for attack, values in accuracies.items():
                evaluation = Evaluation(network=stage, attack=attack, threat=threat)
                values.append(evaluate(network, data.test, evaluation).accuracy)
        shown = " | ".join(
            f"{100 * statistics.mean(values):.1f} ± {100 * statistics.stdev(values):.1f}"
            for values in accuracies.values()
        )
        print(f"| {name} | {shown} |", flush=True)


def main() -> None:
    """Print both tables."""
    torch.set_num_threads(1)
    digits = datasets.load(Dataset(name="digits"), CPU)
    print("| network | training | images/s | ratio |\n| --- | --- | --- | --- |")
    recipe = Training(objective="pgd", epochs=2, lr=0.05, attack_steps=10).resolved()
    speeds("resnet8", digits, recipe, Threat(eps=0.15), repeats=5)
    if len(sys.argv) > 1:
        spec = Dataset(name="cifar10", root=sys.argv[1], source="parquet", per_class=160)
        recipe = recipe.model_copy(update={"epochs": 1})
        cifar = datasets.load(spec, CPU)
        for architecture, batches, repeats in (
            ("resnet20", 4, 3),
            ("vgg8", 4, 3),
            ("resnet18", 1, 1),
        ):
            few = replace(cifar, train=cifar.train.take(torch.arange(batches * BATCH)))
            speeds(architecture, few, recipe, Threat(), repeats)
    print("\nAfter 10 epochs of PGD-10 on digits, five seeds, mean ± standard deviation:\n")
    print("| training | clean, % | PGD-20, % |\n| --- | --- | --- |")
    robustness(digits, Threat(eps=0.15), epochs=10, seeds=5)


if __name__ == "__main__":
    main()
