"""The training loop, for dense and for pruned networks.

A training can be resumed after every epoch. Its checkpoint holds weights, optimizer and averages,
and every random number comes from (key, epoch, purpose). On a CPU the results of a resumed training
are therefore identical, bit for bit, to those of an uninterrupted one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from prune_core.attacks.evaluation import accuracy
from prune_core.data.datasets import Dataset
from prune_core.data.splits import divided
from prune_core.errors import DivergedError
from prune_core.models.state import load_tensors, seeded
from prune_core.specs.compute import Compute
from prune_core.specs.keys import derive_seed
from prune_core.specs.recipes import Training
from prune_core.specs.settings import Threat
from prune_core.training.graphs import CaptureError, Graphs, reason_against
from prune_core.training.growth import Rewiring, Rule
from prune_core.training.history import Checkpoint, Epoch, best_epoch, judged
from prune_core.training.optimizers import restore_state, state_of
from prune_core.training.schedules import rate
from prune_core.training.step import Step
from prune_core.training.watch import Watch


def fit(
    network: nn.Module,
    data: Dataset,
    training: Training,
    threat: Threat | None,
    key: str,
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[Sequence[Epoch], Callable[[], Checkpoint]], None] = lambda *_: None,
    compute: Compute | None = None,
    teacher: nn.Module | None = None,
    rule: Rule | None = None,
    until: int | None = None,
    penalty: Callable[[int], Tensor] | None = None,
) -> list[Epoch]:
    """Train a network in place.

    Args:
        network: The network to train. Weights that are masked stay at zero.
        data: Its training images are trained on, its validation images only measured.
        training: The recipe.
        threat: What the adversary may do; None for objectives without one.
        key: All random numbers derive from it.
        checkpoint: Where to resume; None to begin.
        on_epoch: Called after each epoch with the epochs so far, and with what copies a checkpoint
            into main memory, for as long as the call lasts.
        compute: Precision, memory format, kernels.
        teacher: The dense network, for objectives that need a teacher.
        rule: How masks change; None if they stay.
        until: Stop after so many epochs and keep the weights as they are then, neither averaged nor
            selected; None to train to the end.
        penalty: What is added to the loss of a step in an epoch, counted from 0.

    Returns:
        What each epoch reported, including those before the checkpoint.

    Raises:
        DivergedError: If the loss is not finite.
        ValueError: If the training is too short for its masks to change.
    """
    training = training.resolved()  # changes nothing in a recipe of a stage, which is resolved
    run = _Run(network, data, training, threat, key, compute or Compute(), teacher, rule, penalty)
    if checkpoint is not None:
        run.restore(checkpoint)
    for epoch in range(len(run.history), training.epochs if until is None else until):
        draws = seeded(derive_seed(key, epoch, "global"), data.train.labels.device)
        with _kernels(run.compute), draws:  # what networks and users' methods draw from
            run.epoch(epoch)
        on_epoch(run.history, run.checkpoint)
    run.finish(whole=until is None)
    return judged(run.history, training)


class _Run:
    """One training: its state between epochs. For the arguments see `fit`."""

    def __init__(
        self,
        network: nn.Module,
        data: Dataset,
        training: Training,
        threat: Threat | None,
        key: str,
        compute: Compute,
        teacher: nn.Module | None,
        rule: Rule | None,
        penalty: Callable[[int], Tensor] | None,
    ):
        self.network, self.data, self.training, self.threat = network, data, training, threat
        self.key, self.compute = key, compute
        self.history: list[Epoch] = []
        self._rewiring: Rewiring | None
        self._best: dict[str, Tensor] = {}
        self._watch = Watch(training, threat, derive_seed(key, "watch"))
        if compute.channels_last:
            network.to(memory_format=torch.channels_last)
        if compute.compile:
            network.compile()
        self._parts = teacher, penalty, rule
        against: str | None = "they are not asked for"
        if compute.graphs == "auto":
            device = data.train.labels.device
            against = reason_against(training.objective, device, penalty is not None)
        self._build(against)

    def _build(self, against: str | None) -> None:
        """Make what makes the steps; ``against`` says why none of them is replayed, if none is."""
        teacher, penalty, rule = self._parts
        network, training, compute = self.network, self.training, self.compute
        self._step = Step(network, self.data, training, self.threat, compute, teacher, penalty)
        self._optimizer, self._average = self._step.optimizer, self._step.average
        self._graphs = Graphs(self._step, training.batch_size, against, look=not compute.compile)
        self._steps = len(divided(torch.arange(len(self.data.train)), training.batch_size))
        steps = self._steps * training.epochs
        self._rewiring = None
        if rule:
            self._rewiring = Rewiring(network, self._optimizer, rule, steps, self.key)

    def epoch(self, epoch: int) -> None:
        """Train for one epoch, counted from 0, and add it to the history."""
        begun = self.checkpoint() if self._graphs.pending else None
        try:
            self._epoch(epoch)
        except CaptureError as error:
            if begun is None:
                raise
            self._build(f"a step cannot be captured: {error}")  # nothing of the attempt is left
            self.restore(begun)
            self._epoch(epoch)

    def _epoch(self, epoch: int) -> None:
        training, start = self.training, time.perf_counter()
        step, count, lr = self._step, self._steps, 0.0
        step.begin(epoch, self.key)
        self._graphs.replayed = 0
        self.network.train()
        for index, positions in enumerate(self._order(epoch)):
            lr = rate(training, epoch + (index + 0.5) / count)
            step.prepare(lr, (epoch + index / count) / training.epochs)
            number = epoch * count + index + 1
            if self._rewiring is not None and self._rewiring.due(number):
                step(positions, self._rewiring, number)
            else:
                self._graphs(positions)
        images_seen = len(self.data.train)
        mean_loss = float(step.loss) / images_seen
        if not math.isfinite(mean_loss):
            raise DivergedError(
                f"the loss was {mean_loss} in epoch {epoch + 1} of {training.epochs}"
            )
        self._average.after_epoch(self.network, epoch, self._clean_batches())
        seconds = time.perf_counter() - start
        robust, one_step = self._watch.accuracies(self._reported(), self.data.validation)
        self.history.append(
            Epoch(
                epoch=epoch + 1,
                loss=mean_loss,
                train_accuracy=float(step.right) / images_seen,
                validation_accuracy=accuracy(self._reported(), self.data.validation),
                validation_robust=robust,
                validation_one_step=one_step,
                lr=lr,
                seconds=seconds,
                images_per_second=images_seen / seconds,
                graphs=self._graphs.told(count) if self.compute.graphs == "auto" else None,
            )
        )
        if training.selection == "validation" and best_epoch(self.history, training) == epoch:
            self._best = _copied(self._reported().state_dict())

    def finish(self, *, whole: bool) -> None:
        """Give the network the weights to report if ``whole``, and undo all other changes to it."""
        self._optimizer.zero_grad()  # leave no gradient behind
        if whole:
            load_tensors(self.network, self._best or _copied(self._reported().state_dict()))
        if self.compute.channels_last:
            self.network.to(memory_format=torch.contiguous_format)
        self.network._compiled_call_impl = None
        self.network.eval()

    def checkpoint(self) -> Checkpoint:
        """Return everything that `restore` needs."""
        parts = {
            "network": self.network.state_dict(),
            "optimizer": state_of(self._optimizer, self.network),
            "average": self._average.state(),
            "best": self._best,
        }
        tensors = {f"{part}.{n}": t for part, state in parts.items() for n, t in state.items()}
        copies = {n: t.detach().to("cpu", copy=True) for n, t in tensors.items()}
        return Checkpoint(copies, list(self.history))

    def restore(self, checkpoint: Checkpoint) -> None:
        """Resume from a checkpoint."""
        parts: dict[str, dict[str, Tensor]] = {
            "network": {}, "optimizer": {}, "average": {}, "best": {},
        }  # fmt: skip
        for name, tensor in checkpoint.tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        load_tensors(self.network, parts["network"])
        restore_state(self._optimizer, self.network, parts["optimizer"])
        self._average.restore(parts["average"])
        device = self.data.train.labels.device
        self._best = {name: tensor.to(device) for name, tensor in parts["best"].items()}
        self.history = list(checkpoint.history)

    def _order(self, epoch: int) -> list[Tensor]:
        """Return the positions of each batch's images, on their device."""
        generator = torch.Generator().manual_seed(derive_seed(self.key, epoch, "order"))
        order = torch.randperm(len(self.data.train), generator=generator)
        return divided(order.to(self.data.train.labels.device), self.training.batch_size)

    def _clean_batches(self) -> Iterator[Tensor]:
        for batch in divided(torch.arange(len(self.data.train)), self.training.batch_size):
            yield self._step.formatted(self.data.train.batch(batch)[0])

    def _reported(self) -> nn.Module:
        return self._average.network(self.network)


@contextmanager
def _kernels(compute: Compute) -> Iterator[None]:
    """Let cuDNN take its fastest kernels for a while, if that is asked for."""
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    if compute.benchmark:
        cudnn.benchmark, cudnn.deterministic = True, False
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
