"""Training, of dense and of pruned networks alike: SGD, resumable after every epoch.

Every random number comes from (key, epoch, purpose), so an interrupted training goes on from its
last epoch to bit-identical results on a CPU.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_core.datasets import Dataset
from prune_core.evaluation import accuracy
from prune_core.identity import derive_seed
from prune_core.masks import hold, masked
from prune_core.objectives import Context
from prune_core.registry import OBJECTIVES
from prune_core.specs import Threat, Training


class DivergedError(ArithmeticError):
    """The loss was not finite: the same training would diverge again."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch of training reports; accuracies are shares, times are seconds."""

    epoch: int
    loss: float
    train_accuracy: float
    """On the images as trained on: adversarial ones under an adversarial objective."""
    validation_accuracy: float
    lr: float
    """At the end of the epoch."""
    seconds: float
    images_per_second: float


@dataclass(frozen=True)
class Checkpoint:
    """Everything from which a training goes on: tensors, and the epochs behind it."""

    tensors: dict[str, Tensor]
    history: list[Epoch] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Return what is not a tensor, ready for JSON."""
        return {"history": [asdict(epoch) for epoch in self.history]}

    @classmethod
    def of(cls, tensors: dict[str, Tensor], facts: dict[str, Any]) -> Checkpoint:
        """Put a checkpoint together again from its two parts."""
        return cls(tensors, [Epoch(**epoch) for epoch in facts["history"]])


def fit(
    network: nn.Module,
    data: Dataset,
    training: Training,
    threat: Threat | None,
    key: str,
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[Checkpoint], None] = lambda _: None,
) -> list[Epoch]:
    """Train ``network`` in place and return what every epoch reported.

    ``on_epoch`` is given a checkpoint after each epoch; passed back as ``checkpoint``, it is where
    training goes on. Raises `DivergedError` where the loss is not finite.
    """
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=training.lr,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
    )
    history: list[Epoch] = []
    if checkpoint is not None:
        _restore(network, optimizer, checkpoint)
        history = list(checkpoint.history)
    for epoch in range(len(history), training.epochs):
        history.append(_run_epoch(network, data, training, threat, key, epoch, optimizer))
        on_epoch(Checkpoint(_snapshot(network, optimizer), list(history)))
    optimizer.zero_grad()  # leave no gradient behind
    network.eval()
    return history


def _run_epoch(
    network: nn.Module,
    data: Dataset,
    training: Training,
    threat: Threat | None,
    key: str,
    epoch: int,
    optimizer: torch.optim.Optimizer,
) -> Epoch:
    device = data.train.labels.device
    objective = OBJECTIVES.load(training.objective)
    order = torch.randperm(len(data.train), generator=_generator("cpu", key, epoch, "order"))
    context = Context(threat, training.attack_steps, _generator(device, key, epoch, "attack"))
    augmentation = _generator(device, key, epoch, "augmentation")
    batches = torch.split(order.to(device), training.batch_size)
    pruned = masked(network)
    start = time.perf_counter()
    losses, right = torch.zeros((), device=device), torch.zeros((), device=device)
    network.train()
    lr = training.lr
    for index, batch in enumerate(batches):
        lr = _lr(training, epoch + (index + 1) / len(batches))
        for group in optimizer.param_groups:
            group["lr"] = lr
        images, labels = data.train.batch(batch)
        if data.augment:
            images = flip_and_shift(images, augmentation)
        loss, logits = objective(network, images, labels, context)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        hold(pruned)
        losses += loss.detach() * len(labels)
        right += (logits.detach().argmax(1) == labels).sum()
    mean_loss = float(losses) / len(order)
    if not math.isfinite(mean_loss):
        raise DivergedError(f"the loss was {mean_loss} in epoch {epoch + 1} of {training.epochs}")
    seconds = time.perf_counter() - start
    return Epoch(
        epoch=epoch + 1,
        loss=mean_loss,
        train_accuracy=float(right) / len(order),
        validation_accuracy=accuracy(network, data.validation),
        lr=lr,
        seconds=seconds,
        images_per_second=len(order) / seconds,
    )


def _lr(training: Training, epochs: float) -> float:
    """Return the learning rate after so many (fractions of) epochs."""
    if training.schedule == "constant":
        return training.lr
    return training.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, epochs / training.epochs)))


def _generator(device: torch.device | str, *purpose: str | int) -> torch.Generator:
    key, *rest = purpose
    return torch.Generator(device).manual_seed(derive_seed(str(key), *rest))


def flip_and_shift(images: Tensor, generator: torch.Generator, pad: int = 4) -> Tensor:
    """Flip each image with odds 1/2 and shift it by up to ``pad`` pixels, zeros moving in."""
    count, _, height, width = images.shape
    device = images.device

    def draw(high: int) -> Tensor:
        return torch.randint(high, (count, 1), generator=generator, device=device)

    rows = torch.arange(height, device=device) + draw(2 * pad + 1)
    columns = torch.arange(width, device=device).expand(count, -1)
    columns = torch.where(draw(2).bool(), columns.flip(1), columns) + draw(2 * pad + 1)
    padded = F.pad(images, (pad, pad, pad, pad)).permute(0, 2, 3, 1)
    index = torch.arange(count, device=device).view(-1, 1, 1)
    return padded[index, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2).contiguous()


def _snapshot(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    momenta = {
        f"momentum.{name}": optimizer.state[parameter]["momentum_buffer"]
        for name, parameter in network.named_parameters()
        if optimizer.state[parameter].get("momentum_buffer") is not None
    }
    weights = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    return {name: tensor.detach().clone() for name, tensor in (weights | momenta).items()}


def _restore(network: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: Checkpoint) -> None:
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "momentum": {}}
    for name, tensor in checkpoint.tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    network.load_state_dict(parts["network"])
    for name, parameter in network.named_parameters():
        if name in parts["momentum"]:
            optimizer.state[parameter]["momentum_buffer"] = parts["momentum"][name].to(
                parameter.device
            )
