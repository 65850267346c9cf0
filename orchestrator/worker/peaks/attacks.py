"""Peaks of attacks: what a network holds for an image, and what an attack holds besides.

What an attack holds follows from its own code, which decides by numbers what it does next. So it is
run, on few images, against a stand-in that computes next to nothing and holds as much as the
network would.
"""

from __future__ import annotations

import contextlib
import gc
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from orchestrator.worker.peaks.live import Live, dry, emptied
from prune_core.attacks.evaluation import attack
from prune_core.models.folding import Twin
from prune_core.models.state import seeded
from prune_core.specs.settings import Threat

FEW = 8
"""Images that are attacked, and passed; what is held goes by their number."""
ENOUGH = 200
"""Passes after which an attack is stopped: later ones hold no more."""
NARROW = 1e-3
"""Of the radius: what an attack gives up early is not held."""


class Passes(NamedTuple):
    """Bytes that are alive at most while images pass through a network, of one image."""

    judged: float
    """Through the network itself."""
    look: float
    """Through its twin, without a gradient."""
    forward: float
    """With one."""
    kept: float
    """From then on, until the gradient is computed."""
    backward: float
    """While it is."""
    weights: int
    """Of the network and its twin: of no image."""
    made: int
    """While the twin was made: of no image."""


def passes(network: nn.Module, shape: tuple[int, int, int]) -> Passes:
    """Return what images hold that pass through a network in eval mode, and through its twin."""
    with dry() as live:
        plain = emptied(network).eval()
        live.follow((*plain.parameters(), *plain.buffers()))
        with _uncollected():
            twin = Twin(plain)
        weights, made = live.bytes, live.peak
        images = torch.empty(FEW, *shape, requires_grad=True)
        before, most = live.bytes, list[float]()

        def note() -> None:
            most.append((live.peak - before) / FEW)
            live.peak = live.bytes

        live.peak = live.bytes
        with torch.no_grad():
            for each in (plain, twin):
                each(images)
                note()
        logits = twin(images)
        kept = (live.bytes - before) / FEW
        note()
        torch.autograd.grad(logits, images, torch.ones_like(logits))
        note()
    judged, look, forward, backward = most
    return Passes(judged, look, forward, kept, backward, weights, made)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Collect no garbage for a while, and then all: what is held must not hang on chance."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
        gc.collect()


def attack_peak(
    name: str,
    threat: Threat | None,
    shape: tuple[int, int, int],
    classes: int,
    network: Passes,
    enough: int = ENOUGH,
) -> float:
    """Return the bytes that are alive at once in an attack, at most, of one image.

    Args:
        name: The attack.
        threat: The norm and the radius.
        shape: Of an image.
        classes: How many logits there are.
        network: What images hold that pass through the network.
        enough: Passes after which the attack is stopped.
    """
    narrow = threat and threat.model_copy(update={"eps": threat.eps * NARROW})
    live = Live()
    with seeded(0, torch.device("cpu")), live:
        weight = torch.randn(math.prod(shape), classes)
        judge = StandIn(weight, network._replace(look=network.judged), enough)
        twin = StandIn(weight, network, enough)
        before = live.bytes
        images = torch.rand(FEW, *shape)
        with torch.no_grad():
            labels = judge(images).argmax(1)
        live.peak = live.bytes
        with contextlib.suppress(EnoughError):
            attack(judge, twin, images, labels, name, narrow)
    return (live.peak - before) / FEW


class EnoughError(Exception):
    """An attack has passed as often as it is let."""


class StandIn(nn.Module):
    """Stands for a network: a linear layer that takes the memory of that network.

    Args:
        weight: Of the layer, [c * h * w, classes].
        takes: What an image takes.
        enough: Passes after which there are no more.
    """

    def __init__(self, weight: Tensor, takes: Passes, enough: int):
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self._takes, self._left = takes, enough
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [n, classes].

        Raises:
            EnoughError: There were enough passes.
        """
        if not self._left:
            raise EnoughError
        self._left -= 1
        if torch.is_grad_enabled() and images.requires_grad:
            logits: Tensor = _Pass.apply(images, self.weight, self._takes)
            return logits
        _taken(images, self._takes.look)
        return images.flatten(1) @ self.weight


class _Pass(torch.autograd.Function):
    """A pass whose gradient is asked for."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, takes: Passes) -> Tensor:
        kept = _taken(images, takes.kept)
        _taken(images, takes.forward - takes.kept)
        ctx.save_for_backward(kept, weight)
        ctx.shape, ctx.takes = images.shape, takes
        return images.flatten(1) @ weight

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        _, weight = ctx.saved_tensors
        found = (gradients[0] @ weight.T).view(ctx.shape)
        _taken(found, ctx.takes.backward - ctx.takes.kept - found.nbytes / len(found))
        return found, None, None


def _taken(images: Tensor, each: float) -> Tensor:
    """Return as much memory as images take, so much ``each``; nobody writes into it."""
    return torch.empty(max(0, round(len(images) * each)), dtype=torch.uint8)
