"""Stopwatch: seconds of a batch of each part that jobs have, on images that are made up."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from orchestrator.planning.work import STEP, attack_passes, measuring_passes
from prune_core.attacks.evaluation import BATCH, attack
from prune_core.data import augmentation
from prune_core.data.datasets import Dataset
from prune_core.data.outline import outline
from prune_core.data.splits import Split
from prune_core.models import architectures
from prune_core.models.folding import Twin
from prune_core.models.state import copied, evaluating, seeded
from prune_core.pruning.prunable import masks
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.ratios import sensitivities
from prune_core.specs.settings import Threat
from prune_core.specs.stages import Dense, Finetuned, Scores, Sensitivity
from prune_core.training.loop import fit

FIRST = 8
"""Images of the first batch: a whole one may take minutes, and needs other memory."""
TIMES = 20
"""Batches that are timed of one part, at most."""
LEAST = 10
"""Passes of an image after which an attack that takes longer may be stopped."""
NARROW = 1e-3
"""Of the radius: an image that an attack has changed to another class costs it no more."""
PARTLY = {"restarts": 1, "steps": 2, "few_steps": 2, "most_steps": 2, "shares": (0.5,)}
"""How sensitivities are measured while that is timed."""


class Timed(NamedTuple):
    """What was timed, and how long it took."""

    passes: float
    """As `orchestrator.planning.work` counts them."""
    seconds: float
    size: int
    """Images of the batch."""
    whole: bool = True
    """Whether an attack was let end."""


class EnoughError(Exception):
    """There is no time left."""


class Meter(nn.Module):
    """Stands for a network under attack; counts its passes, and stops the attack in time.

    Args:
        network: The network.
        least: Passes that are counted in any case.
        until: When to stop it, by `clock`.
        device: Where it is.
    """

    def __init__(self, network: nn.Module, least: float, until: float, device: str):
        super().__init__()
        self.network, self.passes, self._least = network, 0.0, least
        self._until, self._device = until, device
        self.train(network.training)  # attacks restore the mode that they read here

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [n, classes].

        Raises:
            EnoughError: The time is over.
        """
        if self.passes > self._least and clock(self._device) > self._until:
            raise EnoughError
        logits: Tensor = self.network(images)
        self.passes += len(images) * (STEP if logits.requires_grad else 1.0)
        return logits


class Bench:
    """A network on images like those of a data set.

    Args:
        dense: Which network, on which images.
        device: What to compute on.

    Raises:
        DatasetError: What the images are like is not known here.
    """

    def __init__(self, dense: Dense, device: str):
        self._shape, self._classes = outline(dense.dataset)
        self._even = (0.5,) * self._shape[0]
        where = (self._shape, self._classes, self._even, self._even)
        self._network = architectures.build(dense.architecture, *where, seed=0).to(device)
        self._device = device

    def training(self, trained: Dense | Finetuned | Scores, until: float) -> Timed | None:
        """Time steps of a training, with a batch as large as there is time for."""
        training = trained.training
        if training is None:
            return None
        most, teacher = training.batch_size, self._network if training.taught else None

        def step(size: int) -> float:
            once = training.model_copy(update={"epochs": 2, "batch_size": size})
            network = copied(self._network)
            epochs = fit(
                network, self._images(size), once, trained.threat, "probe",
                compute=trained.compute, teacher=teacher,
            )  # fmt: skip
            return epochs[-1].seconds

        size, seconds = _grown(step, most, until, self._device)
        return Timed(training.passes / training.epochs * size, seconds, size)

    def attack(self, name: str, threat: Threat | None, most: int, until: float) -> Timed:
        """Time an attack on images that stay right, for as long as there is time.

        Args:
            name: The attack; ``clean`` for a look at the images as they are.
            threat: Its norm and radius.
            most: Images of a batch, at most.
            until: When to stop.
        """
        narrow = threat and threat.model_copy(update={"eps": threat.eps * NARROW})
        passes = attack_passes(name)
        with evaluating(self._network), seeded(0, torch.device(self._device)):
            twin = Twin(self._network)

            def once(size: int) -> tuple[float, float]:
                images, _ = self._images(size).train.batch(slice(None))
                labels = self._network(images).argmax(1)
                meter = Meter(twin, LEAST * size, until, self._device)
                start = clock(self._device)
                try:
                    attack(self._network, meter, images, labels, name, narrow)
                except EnoughError:
                    return clock(self._device) - start, meter.passes
                return clock(self._device) - start, passes * size

            def look(size: int) -> float:
                images, _ = self._images(size).train.batch(slice(None))
                start = clock(self._device)
                with torch.no_grad():
                    self._network(images)
                return clock(self._device) - start

            few = min(FIRST, most)
            each = min(look(few) for _ in range(3)) / few  # the first one makes plans
            room = (until - clock(self._device)) / (each * min(passes, LEAST))
            size = max(few, min(int(room), most, BATCH))
            seconds, counted = once(size)
        return Timed(counted, seconds, size, whole=counted == passes * size)

    def sensitivity(self, stage: Sensitivity, until: float) -> Timed:
        """Time the measuring of sensitivities, on as many images as there is time for."""

        def partly(samples: int) -> Sensitivity:
            update = {**PARTLY, "samples": samples}
            return stage.model_copy(
                update={"estimation": stage.estimation.model_copy(update=update)}
            )

        def once(samples: int) -> float:
            some, data = partly(samples), self._images(samples)
            start = clock(self._device)
            if stage.granularity is None:
                layers = list(masks.maskable(self._network))
                sensitivities.measure(self._network, layers, data, some)
            else:
                view = prunable_view(self._network, self._shape, stage.granularity)
                scores = {m.name: torch.rand(m.units, device=self._device) for m in view.modules}
                sensitivities.measure_removal(self._network, view, scores, data, some)
            return clock(self._device) - start

        size, seconds = _grown(once, stage.estimation.samples, until, self._device)
        return Timed(measuring_passes(partly(size)), seconds, size)

    def _images(self, count: int) -> Dataset:
        """Return so many images to train on, and as few others as there can be."""

        def made(count: int) -> Split:
            pixels = torch.randint(0, 256, (count, *self._shape), dtype=torch.uint8)
            split = Split(pixels, torch.arange(count) % self._classes)
            return split.to(torch.device(self._device))

        few = made(2)
        constants = (self._classes, self._even, self._even, augmentation.nothing)
        return Dataset(made(count), few, few, *constants)


def clock(device: str) -> float:
    """Return a time in seconds by which all that was begun is done."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def _grown(step: Callable[[int], float], most: int, until: float, device: str) -> tuple[int, float]:
    """Return the images of a step, the largest that there is time for, and its seconds."""
    size = min(FIRST, most)
    first = step(size)  # it makes plans and takes memory
    if first > until - clock(device):
        return size, first
    while True:
        seconds = [step(size)]
        if size == most or 8 * seconds[0] > until - clock(device):
            break
        size = min(2 * size, most)
    while len(seconds) < TIMES and clock(device) + seconds[0] < until:
        seconds.append(step(size))
    return size, statistics.median(seconds)  # others may use the machine too
