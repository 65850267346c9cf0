"""Criteria: which channels matter least.

A criterion is a function ``(layer) -> scores [units]``; the lowest scores are pruned first. It sees
one side of one layer of a module; `channel_scores` averages over the layers of the module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from prune_core.identity import derive_seed
from prune_core.modules import Member, PrunableModule
from prune_core.registry import CRITERIA, method

Criterion = Callable[["Layer"], Tensor]


@dataclass(frozen=True)
class Layer:
    """A layer's weights as a criterion sees them: a row holds what would go together.

    For channels on a layer's output side a row is a filter, on its input side all weights that
    read the channel.
    """

    name: str
    weight: Tensor
    """[units, weights of a unit]"""
    seed: int
    _gradient: Callable[[], Tensor]

    @cached_property
    def gradient(self) -> Tensor:
        """The gradient of the mean cross-entropy on the calibration images, shaped as weight."""
        return self._gradient()

    @cached_property
    def generator(self) -> torch.Generator:
        """A CPU generator of the layer's own."""
        return torch.Generator().manual_seed(self.seed)


@method("random", source="the control of every criterion")
def random(layer: Layer) -> Tensor:
    """Uniformly random scores."""
    return torch.rand(len(layer.weight), generator=layer.generator).to(layer.weight.device)


@method("l1", source="Li et al., 2017 (arXiv 1608.08710)")
def l1(layer: Layer) -> Tensor:
    """The sum of absolute weights."""
    return layer.weight.abs().sum(1)


@method("l2", source="He et al., 2018 (arXiv 1808.06866)")
def l2(layer: Layer) -> Tensor:
    """The Euclidean norm of the weights."""
    return layer.weight.square().sum(1).sqrt()


@method("lamp", source="Lee et al., 2021 (arXiv 2010.07611)", traits=("comparable",))
def lamp(layer: Layer) -> Tensor:
    """The squared norm over the sum of all squared norms at least as large."""
    squared = layer.weight.square().sum(1)
    ascending, order = squared.sort(stable=True)
    at_least = ascending.flip(0).cumsum(0).flip(0)
    scores = torch.empty_like(squared)
    scores[order] = ascending / at_least.clamp_min(torch.finfo(squared.dtype).tiny)
    return scores


@method(
    "taylor",
    source="Molchanov et al., 2019 (arXiv 1906.10771), eq. 8",
    needs=("gradients",),
    traits=("comparable",),
)
def taylor(layer: Layer) -> Tensor:
    """The squared first-order change of the loss when the channel goes."""
    return (layer.weight * layer.gradient).sum(1).square()


def channel_scores(
    network: nn.Module,
    modules: Sequence[PrunableModule],
    criterion: str,
    gradients: Callable[[], Mapping[str, Tensor]],
    key: str,
) -> dict[str, Tensor]:
    """Score every channel of every module: the mean over the module's layers; [channels] each.

    ``gradients`` is called once, and only if the criterion asks; ``key`` seeds what is random.
    Raises ValueError where a criterion returns another shape, or what is not finite.
    """
    score: Criterion = CRITERIA.load(criterion)
    layers = dict(network.named_modules())
    known: dict[str, Tensor] = {}

    def gradient_of(name: str) -> Tensor:
        known.update(gradients() if not known else {})
        return known[name]

    def member_scores(module: PrunableModule, member: Member) -> Tensor:
        weight = layers[member.layer].weight.detach()
        layer = Layer(
            member.layer,
            _rows(weight, member),
            derive_seed(key, "criterion", module.name, member.layer, member.side),
            lambda: _rows(gradient_of(member.layer), member),
        )
        found = score(layer)
        if found.shape != (len(layer.weight),) or not found.isfinite().all():
            raise ValueError(
                f"criterion {criterion!r} on {member.layer}: scores must be {len(layer.weight)} "
                f"finite numbers, shape [{len(layer.weight)}]; got shape {list(found.shape)}"
            )
        return found.to(weight.dtype)

    return {
        module.name: _mean_over_members(
            module,
            [
                (member, member_scores(module, member))
                for member in module.members
                if member.side != "norm"
            ],
        )
        for module in modules
    }


def _rows(weight: Tensor, member: Member) -> Tensor:
    """Return [units, weights of a unit] for one side of a layer."""
    return weight.flatten(1) if member.side == "out" else weight.transpose(0, 1).flatten(1)


def _mean_over_members(module: PrunableModule, scored: list[tuple[Member, Tensor]]) -> Tensor:
    total = torch.zeros(module.channels, device=scored[0][1].device)
    for member, scores in scored:
        index = torch.tensor(member.channels, device=scores.device)
        total.index_add_(0, index, scores / (len(index) // module.channels))
    return total / len(scored)
