"""Our robust evaluation against torchattacks run over the whole test set.

The same attacks at the same settings, on one network trained against the first radius; accuracies
are means over three random starts, and other ones for either (from the same start ours is never
higher, as `tests/test_attacks.py` holds). Run: python benchmarks/robust_evaluation.py
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable

import torch
import torchattacks
from torch import Tensor, nn

from prune_core.attacks.evaluation import evaluate, right
from prune_core.data import datasets
from prune_core.models import architectures
from prune_core.models.state import seeded
from prune_core.specs.recipes import Training
from prune_core.specs.settings import Dataset, Threat
from prune_core.specs.stages import Dense, Evaluation
from prune_core.training import loop as training

CPU = torch.device("cpu")
RADII = (0.15, 0.2)
REPEATS = 3
Attack = Callable[[nn.Module, float], torchattacks.attack.Attack]
PEERS: dict[str, tuple[list[Attack], str]] = {
    "PGD-20": ([lambda n, e: torchattacks.PGD(n, e, e / 8, 20)], "pgd-20"),
    "PGD-100": ([lambda n, e: torchattacks.PGD(n, e, e / 40, 100)], "pgd-100"),
    "PGD-20, 5 restarts": ([lambda n, e: torchattacks.PGD(n, e, e / 8, 20)] * 5, "pgd-20-5"),
    "APGD-CE": ([lambda n, e: torchattacks.APGD(n, "Linf", e, 100)], "apgd-ce"),
    "APGD-DLR": ([lambda n, e: torchattacks.APGD(n, "Linf", e, 100, loss="dlr")], "apgd-dlr"),
    "Square, 500 queries": ([lambda n, e: torchattacks.Square(n, "Linf", e, 500)], "square-500"),
    "worst of PGD-20, APGD-CE, APGD-DLR, Square": (
        [
            lambda n, e: torchattacks.PGD(n, e, e / 8, 20),
            lambda n, e: torchattacks.APGD(n, "Linf", e, 100),
            lambda n, e: torchattacks.APGD(n, "Linf", e, 100, loss="dlr"),
            lambda n, e: torchattacks.Square(n, "Linf", e, 500),
        ],
        "pgd-20+apgd-ce+apgd-dlr+square-500",
    ),
}


def peer(
    network: nn.Module,
    attacks: list[Attack],
    eps: float,
    images: Tensor,
    labels: Tensor,
    seed: int,
) -> float:
    """Return the share right under all of the attacks, each run on every image."""
    left = torch.ones(len(labels), dtype=torch.bool)
    with seeded(seed, CPU):
        for make in attacks:
            left &= right(network, make(network, eps)(images, labels), labels)
    return float(left.float().mean())


def rows(network: nn.Module, data: datasets.Dataset, recipe: Training, threat: Threat) -> None:
    """Print the rows of one radius."""
    images, labels = data.test.batch(slice(None))
    for name, (attacks, ours) in PEERS.items():
        theirs: list[float] = []
        own: list[float] = []
        times: list[tuple[float, float]] = []
        for seed in range(REPEATS):
            stage = Dense(
                dataset=Dataset(name="digits"),
                architecture="resnet8",
                training=recipe,
                threat=threat,
                seed=seed,
            )
            evaluation = Evaluation(network=stage, attack=ours, threat=threat)
            start = time.perf_counter()
            theirs.append(100 * peer(network, attacks, threat.eps, images, labels, seed))
            middle = time.perf_counter()
            own.append(100 * evaluate(network, data.test, evaluation).accuracy)
            times.append((middle - start, time.perf_counter() - middle))
        seconds = [statistics.median(each) for each in zip(*times, strict=True)]
        ratio = statistics.median(a / b for a, b in times)
        print(
            f"| {threat.eps} | {name} | {statistics.mean(theirs):.1f} | {statistics.mean(own):.1f} "
            f"| {seconds[0]:.2f} | {seconds[1]:.2f} | {ratio:.1f} |",
            flush=True,
        )


def autoattack(network: nn.Module, data: datasets.Dataset, recipe: Training) -> None:
    """Print what AutoAttack costs, in trainings: of an image, and of CIFAR-10's test split.

    Of 10,000 test images and 49,000 to train on, as sweeps/cifar10.yaml has them.
    """
    ten = recipe.model_copy(update={"epochs": 1, "attack_steps": 10, "attack_step": 0.25})
    start = time.process_time()
    training.fit(copy.deepcopy(network), data, ten, Threat(eps=RADII[0]), "cost")
    trained = (time.process_time() - start) / len(data.train)
    print("\n| eps | AutoAttack, % | an image, in images of PGD-10 | CIFAR-10's test, in epochs |")
    print("| --- | --- | --- | --- |")
    for eps in RADII:
        threat = Threat(eps=eps)
        stage = Dense(
            dataset=Dataset(name="digits"), architecture="resnet8", training=recipe, threat=threat,
            seed=0,
        )  # fmt: skip
        start = time.process_time()
        found = evaluate(
            network, data.test, Evaluation(network=stage, attack="autoattack", threat=threat)
        )
        cost = (time.process_time() - start) / len(data.test) / trained
        epochs = cost * 10_000 / 49_000
        print(f"| {eps} | {100 * found.accuracy:.1f} | {cost:.0f} | {epochs:.0f} |", flush=True)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    spec = Dataset(name="digits")
    data = datasets.load(spec, CPU)
    recipe = Training(objective="pgd", epochs=15, lr=0.05, attack_steps=5).resolved()
    print("| eps | attack | torchattacks, % | ours, % | torchattacks, s | ours, s | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    network = architectures.build(
        "resnet8", data.shape, data.classes, data.mean, data.std, 0
    ).eval()
    training.fit(network, data, recipe, Threat(eps=RADII[0]), "benchmark")
    for eps in RADII:
        rows(network, data, recipe, Threat(eps=eps))
    autoattack(network, data, recipe)


if __name__ == "__main__":
    main()
