"""Growth: masks that change while a network is trained; every layer keeps as many weights.

At times the smallest weights of a layer are dropped, and as many of its masked ones grow: from
zero, and from no momentum. A policy returns the `Rule` by which they do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prune_core.pruning.prunable.masks import mask_of, masked
from prune_core.specs.keys import derive_seed
from prune_core.specs.recipes import Growth

Score = Callable[[Tensor, torch.Generator], Tensor]
"""From the gradient of a layer's weights to scores of the same shape; the highest grow."""


@dataclass(frozen=True)
class Rule:
    """How masks change.

    Attributes:
        settings: How much and how often; from the recipe.
        score: What grows.
        whole: Makes the number of weights to drop a whole one.
        least: The share of a layer's weights that is dropped last, to which the share falls.
        replaces_step: Whether the optimizer makes no step where masks change.
    """

    settings: Growth
    score: Score
    whole: Callable[[float], int] = math.floor
    least: float = 0.0
    replaces_step: bool = False


def by_gradient(gradient: Tensor, generator: torch.Generator) -> Tensor:
    """Grow where the loss, of this batch, depends on the weight most."""
    del generator
    return gradient.abs()


def at_random(gradient: Tensor, generator: torch.Generator) -> Tensor:
    """Grow anywhere."""
    return torch.rand(gradient.shape, generator=generator, device=gradient.device)


class Rewiring:
    """Changes a network's masks, in place, as its training goes on.

    Args:
        network: The network in training, with masks.
        optimizer: Its optimizer.
        rule: How masks change.
        steps: The steps of the whole training.
        key: All random numbers derive from it.

    Raises:
        ValueError: If the training is too short for its masks to change.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        rule: Rule,
        steps: int,
        key: str,
    ):
        self.rule = rule
        self._layers, self._optimizer, self._key = masked(network), optimizer, key
        self._end = rule.settings.stop_growing * steps
        if not rule.settings.update_every < self._end:
            raise ValueError(
                f"masks change every {rule.settings.update_every} steps in the first "
                f"{self._end:g} of the training's {steps}, so they never would; lower update_every"
            )

    def due(self, step: int) -> bool:
        """Return whether masks change at a step, counted from 1."""
        return step % self.rule.settings.update_every == 0 and step < self._end

    @torch.no_grad()
    def apply(self, step: int) -> None:
        """Change all masks at a step, counted from 1, by the gradients of its batch."""
        share = dropped_share(self.rule, step / self._end)
        for index, layer in enumerate(self._layers):
            weight, mask = layer.get_parameter("weight"), mask_of(layer)
            if weight.grad is None:
                raise ValueError("masks change by gradients, and a layer has none")
            generator = torch.Generator(weight.device)
            generator.manual_seed(derive_seed(self._key, step, "growth", index))
            scores = self.rule.score(weight.grad, generator)
            after = rewired(weight, mask, scores, self.rule.whole(share * int(mask.sum())))
            new = after & ~mask
            for value in (weight, *self._optimizer.state[weight].values()):
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    value[new] = 0
            weight.mul_(after)
            mask.copy_(after)


def dropped_share(rule: Rule, behind: float) -> float:
    """Return the share of a layer's weights to drop, which falls as a cosine.

    Args:
        rule: Where it begins and ends.
        behind: The share of the steps in which masks change that is over.
    """
    falling = (1 + math.cos(math.pi * behind)) / 2
    return rule.least + (rule.settings.drop_share - rule.least) * falling


def rewired(weight: Tensor, mask: Tensor, scores: Tensor, count: int) -> Tensor:
    """Return a layer's mask after ``count`` weights are dropped and as many have grown.

    A weight that is dropped may grow again at once; then it stays as it is. Of equal weights or
    scores the first counts.

    Args:
        weight: The weights, of any shape.
        mask: Which of them are kept now, of the same shape.
        scores: What grows, the highest first, of the same shape.
        count: How many, at most those that are kept.
    """
    size = weight.abs().masked_fill(~mask, -1).flatten()
    after = torch.zeros_like(size, dtype=torch.bool)
    after[size.argsort(descending=True, stable=True)[: int(mask.sum()) - count]] = True
    open_to_all = scores.flatten().masked_fill(after, -torch.inf)
    after[open_to_all.argsort(descending=True, stable=True)[:count]] = True
    return after.view_as(mask)
