"""Peaks of memory as they are predicted, and as the CPU's allocator counts them.

    python benchmarks/peaks.py [--batches 8,64] [--only TEXT]

An epoch of two steps and its look at the validation images; the attack of two steps, as more of
them take no more memory. Both in bytes that are alive at once.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from orchestrator.worker.peaks.attacks import NARROW, EnoughError, attack_peak, passes
from orchestrator.worker.peaks.trainings import Images, training_peak
from prune_core.attacks.evaluation import attack
from prune_core.data.augmentation import flip_and_shift
from prune_core.data.datasets import Dataset
from prune_core.data.splits import Split
from prune_core.models.architectures import build
from prune_core.models.folding import Twin
from prune_core.models.state import evaluating, seeded
from prune_core.pruning.prunable import masks
from prune_core.specs.compute import Compute
from prune_core.specs.recipes import Training
from prune_core.specs.settings import Threat
from prune_core.training.loop import fit

SHAPE, CLASSES = (3, 32, 32), 10
OBJECTIVES = (
    "standard", "fgsm", "pgd", "trades", "mart", "awp:pgd", "awp:trades", "ard", "distill:standard",
)  # fmt: skip
"""All of them, on one small network."""
ARCHITECTURES = (
    "resnet8", "resnet20", "resnet56", "resnet110", "resnet18", "resnet50", "wrn-16-4", "wrn-28-4",
    "vgg8", "vgg16", "apb-resnet18", "apb-vgg16", "mobilenetv2", "densenet121", "convnext-tiny",
    "mobilevit-xxs", "vit-tiny",
)  # fmt: skip
"""One of each family at least."""
WAYS: dict[str, dict[str, object]] = {
    "masks": {},
    "AdamW": {"optimizer": "adamw"},
    "EMA": {"averaging": "ema"},
    "SWA": {"averaging": "swa", "swa_start": 0.25},
    "selected by validation": {"selection": "validation"},
    "profile fast": {},
}
"""What changes what a training holds, on one network."""

ATTACKED = ("resnet8", "vgg8", "mobilenetv2")
ATTACKS = (
    "clean", "fgsm", "pgd-20", "cw-20", "apgd-ce", "apgd-dlr", "fab", "square-100", "autoattack",
    "fmn-20", "ho-fmn-1",
)  # fmt: skip
PASSES = 12
"""Of an attack, after which it is stopped."""


def counted(work: Callable[[], object], before: int = 0) -> int:
    """Return the most bytes that the CPU's allocator had given out at once while it was done.

    Args:
        work: What is done.
        before: Bytes that were given out before, and belong to it.
    """
    gc.collect()  # what is freed while it is done must belong to it
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = before
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def held(*networks: nn.Module | None) -> int:
    """Return the bytes of networks."""
    return sum(
        tensor.untyped_storage().nbytes()
        for network in networks
        if network is not None
        for tensor in (*network.parameters(), *network.buffers())
    )


def both(
    network: nn.Module,
    shape: tuple[int, int, int],
    classes: int,
    training: Training,
    compute: Compute,
    teacher: nn.Module | None,
) -> tuple[int, int, float]:
    """Return the predicted and the counted peak of a training, and how long predicting took."""
    threat = Threat() if training.adversarial else None
    counts = 2 * training.batch_size, training.batch_size, 2
    began = time.perf_counter()
    foreseen = training_peak(
        network, Images(shape, classes, *counts), training, threat, compute, teacher
    )
    seconds = time.perf_counter() - began

    def work() -> None:
        parts = (
            Split(torch.zeros(count, *shape, dtype=torch.uint8), torch.arange(count) % classes)
            for count in counts
        )
        half = (0.5,) * shape[0]
        data = Dataset(*parts, classes, half, half, flip_and_shift)
        fit(network, data, training, threat, "peak", compute=compute, teacher=teacher)

    return foreseen, counted(work, held(network, teacher)), seconds


class Meter(nn.Module):
    """Stands for a network; stops an attack after so many passes."""

    def __init__(self, network: nn.Module, enough: int):
        super().__init__()
        self._network, self._left = network, enough
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [n, classes]."""
        if not self._left:
            raise EnoughError
        self._left -= 1
        logits: Tensor = self._network(images)
        return logits


def counted_attack(
    name: str,
    network: nn.Module,
    shape: tuple[int, int, int],
    threat: Threat,
    count: int,
    enough: int,
) -> int:
    """Return the counted peak of an attack on so many images, with a radius that changes none."""
    narrow = threat.model_copy(update={"eps": threat.eps * NARROW})

    def work() -> None:
        with evaluating(network), seeded(0, torch.device("cpu")):
            twin = Meter(Twin(network), enough)
            images = torch.rand(count, *shape)
            with torch.no_grad():
                labels = network(images).argmax(1)
            with contextlib.suppress(EnoughError):
                attack(network, twin, images, labels, name, narrow)

    return counted(work, held(network))


def cases(batches: list[int]) -> Iterator[tuple[str, str, int, Training, Compute]]:
    """Go through what is measured: a network, what is told of it, and its training."""
    for batch in batches:
        rows = [("resnet8", objective, objective, {}) for objective in OBJECTIVES]
        rows += [(name, "pgd", "pgd", {}) for name in ARCHITECTURES]
        rows += [("resnet18", way, "pgd", settings) for way, settings in WAYS.items()]
        for architecture, told, objective, settings in rows:
            recipe: dict[str, object] = {"objective": objective, "batch_size": batch, **settings}
            recipe["epochs"] = 1 + (settings.get("selection") is not None)
            training = Training.model_validate(recipe).resolved()
            if (training.attack_steps or 0) > 2:
                training = training.model_copy(update={"attack_steps": 2})
            compute = Compute(profile="fast" if told == "profile fast" else "exact")
            yield architecture, told, batch, training, compute


def show(
    architecture: str, told: str, batch: int, foreseen: float, seen: int, seconds: float
) -> None:
    """Print a row."""
    print(
        f"{architecture:<15}{told:<24}{batch:>6}{foreseen / 2**20:>7.1f} MiB"
        f"{seen / 2**20:>9.1f}  {foreseen / seen:.3f}  {seconds:.1f}",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", default="8,64")
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'network':<15}{'':<24}{'batch':>6}{'predicted':>11}{'counted':>9}  ratio  seconds")
    for architecture, told, batch, training, compute in cases(
        [int(batch) for batch in arguments.batches.split(",")]
    ):
        if arguments.only not in f"{architecture} {told}":
            continue
        half = (0.5,) * SHAPE[0]
        network, dense = (build(architecture, SHAPE, CLASSES, half, half, 0) for _ in range(2))
        if told == "masks":
            for layer in masks.maskable(network).values():
                masks.attach(layer)
        teacher = dense.eval() if training.taught else None
        if compute.channels_last:  # the allocator would not tell that what it replaces is let go
            network.to(memory_format=torch.channels_last)
        foreseen, seen, seconds = both(network, SHAPE, CLASSES, training, compute, teacher)
        show(architecture, told, batch, foreseen, seen, seconds)
    for architecture in ATTACKED:
        half = (0.5,) * SHAPE[0]
        network = build(architecture, SHAPE, CLASSES, half, half, 0)
        for batch in [int(batch) for batch in arguments.batches.split(",")]:
            for name in ATTACKS:
                if arguments.only not in f"{architecture} {name}":
                    continue
                began = time.perf_counter()
                one = passes(network, SHAPE)
                each = attack_peak(name, Threat(), SHAPE, CLASSES, one, PASSES)
                seconds = time.perf_counter() - began
                foreseen = max(one.made, one.weights + batch * each)
                seen = counted_attack(name, network, SHAPE, Threat(), batch, PASSES)
                show(architecture, f"attacked: {name}", batch, foreseen, seen, seconds)


if __name__ == "__main__":
    main()
