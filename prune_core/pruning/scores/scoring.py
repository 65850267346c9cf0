"""Scoring: a criterion applied to every module of a network, its layers' scores joined."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from prune_core.data.datasets import Dataset
from prune_core.models.state import copied, seeded
from prune_core.pruning.prunable.groups import Member, PrunableModule, Side
from prune_core.pruning.scores.criteria import l2
from prune_core.pruning.scores.layer import Layer
from prune_core.pruning.scores.maps import as_maps, contributions
from prune_core.pruning.scores.signals import Signals
from prune_core.specs.keys import derive_seed
from prune_core.specs.registry import CRITERIA
from prune_core.specs.stages import Scores

Criterion = Callable[[Layer], Tensor]
SIDES: dict[str, tuple[Side, ...]] = {
    "filters": ("out", "weight"),
    "weights": ("out", "in", "weight"),
    "norms": ("norm",),
    "inputs": ("in",),
}
"""The sides of layers that a criterion reads, by what it needs."""


def score(
    network: nn.Module,
    data: Dataset,
    modules: Sequence[PrunableModule],
    stage: Scores,
    trained: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Score every unit of every module; the lowest are pruned first.

    Where a module has no layer of the kind that the criterion reads (no normalisation, say), the
    l2 norm of its filters decides.

    Args:
        network: It is left as it was.
        data: Training images are read, and no others.
        modules: The prunable modules.
        stage: The criterion, and what it is given.
        trained: Scores by module [units] that were trained before, for a criterion that needs them.

    Returns:
        Scores by module [units].

    Raises:
        ValueError: Where a criterion returns another shape, or what is not finite.
    """
    if CRITERIA.outside(stage.criterion):
        network = copied(network)  # a user's own may change what it is shown
    with seeded(derive_seed(stage.key, "global"), data.train.labels.device):
        scorer = _Scorer(network, modules, stage, Signals(network, data, modules, stage, trained))
        return {module.name: scorer.module_scores(module) for module in modules}


class _Scorer:
    def __init__(
        self,
        network: nn.Module,
        modules: Sequence[PrunableModule],
        stage: Scores,
        signals: Signals,
    ):
        self._network = network
        self._parameters = dict(network.named_parameters())
        self._stage = stage
        self._method = CRITERIA[stage.criterion]
        self._criterion: Criterion = CRITERIA.load(stage.criterion)
        self._signals = signals
        self._shown: dict[tuple[str, Member], Tensor] = {}
        if {"maps", "inputs"} & set(self._method.needs):
            self._watch(modules)

    def module_scores(self, module: PrunableModule) -> Tensor:
        """Return the scores of a module's units: the mean, or the sum, over its layers."""
        members = self._members(module)
        read = self._criterion if members else l2
        scored = []
        for member in members or _of_sides(module, ("out", "weight")):
            scores = self._shown.get((module.name, member))
            if scores is None:
                scores = self._checked(read(self._layer(module, member)), module, member)
            scored.append(scores)
        total = torch.stack(scored).sum(0)
        return total if "summed" in self._method.traits else total / len(scored)

    def _members(self, module: PrunableModule) -> list[Member]:
        """Return the members that the criterion reads."""
        needs = set(self._method.needs)
        if "maps" in needs:
            return self._having_weights(_of_sides(module, ("norm",))) or _of_sides(module, ("out",))
        sides = [side for need in SIDES if need in needs for side in SIDES[need]]
        return self._having_weights(_of_sides(module, sides or SIDES["weights"]))

    def _having_weights(self, members: Sequence[Member]) -> list[Member]:
        """Return those whose layer has a weight: normalisations may have none."""
        return [m for m in members if f"{m.layer}.weight" in self._parameters]

    def _layer(self, module: PrunableModule, member: Member, shown: Tensor | None = None) -> Layer:
        weight = self._network.get_parameter(f"{member.layer}.weight").detach()
        key = self._stage.key
        seed = derive_seed(key, "criterion", module.name, member.layer, member.side)
        draw = torch.Generator().manual_seed(seed)
        rows = member.rows(weight)
        return Layer(member.layer, rows, draw, member, self._signals, module.name, shown)

    def _watch(self, modules: Sequence[PrunableModule]) -> None:
        """Show the criterion feature maps or inputs as they pass, and keep the mean of its scores.

        Maps are scored batch by batch, so that no more than one batch of one layer is held; what
        channels add to the next layer is joined over all batches first.
        """
        joined: dict[tuple[str, Member], list[Tensor]] = {}
        inputs = "inputs" in self._method.needs
        hooks: dict[str, list[Callable[[Tensor, Tensor], None]]] = {}
        for module in modules:
            for member in self._members(module):
                look = self._looker(module, member, joined.setdefault((module.name, member), []))
                hooks.setdefault(member.layer, []).append(look)

        def together(looks: list[Callable[[Tensor, Tensor], None]]) -> Callable[..., None]:
            def look_all(read: Tensor, made: Tensor) -> None:
                for look in looks:
                    look(read, made)

            return look_all

        self._signals.watch({name: together(looks) for name, looks in hooks.items()})
        for (name, member), parts in joined.items():
            module = next(m for m in modules if m.name == name)
            if inputs:
                scores = self._criterion(self._layer(module, member, torch.cat(parts)))
            else:
                scores = torch.stack(parts).mean(0)
            self._shown[name, member] = self._checked(scores, module, member)

    def _looker(
        self, module: PrunableModule, member: Member, parts: list[Tensor]
    ) -> Callable[[Tensor, Tensor], None]:
        layer = self._network.get_submodule(member.layer)
        draw = torch.Generator().manual_seed(derive_seed(self._stage.key, "places", member.layer))

        def look(read: Tensor, made: Tensor) -> None:
            if "inputs" in self._method.needs:
                parts.append(member.by_channel(contributions(layer, read, draw), dim=1).sum(2))
            else:
                # The maps of a channel's units lie side by side: [n, channels, height, places].
                maps = member.by_channel(as_maps(layer, made), dim=1).movedim(2, 3).flatten(3)
                scores = self._criterion(self._layer(module, member, maps.relu()))
                self._checked(scores, module, member)
                parts.append(scores)

        return look

    def _checked(self, scores: object, module: PrunableModule, member: Member) -> Tensor:
        if not isinstance(scores, Tensor):
            got = f"a {type(scores).__name__}"
        elif scores.shape != (module.units,):
            got = f"shape {list(scores.shape)}"
        elif scores.is_complex() or scores.is_sparse or scores.is_meta:
            got = f"{scores.dtype}, {scores.layout}, on {scores.device}".replace("torch.", "")
        else:
            numbers = scores.detach().to(self._parameters[f"{member.layer}.weight"].device).float()
            if numbers.isfinite().all():
                return numbers
            got = f"{int((~numbers.isfinite()).sum())} that are not finite as float32"
        raise ValueError(
            f"criterion {self._stage.criterion!r} on {member.layer}: scores must be a tensor of "
            f"{module.units} finite numbers, shape [{module.units}]; got {got}"
        )


def _of_sides(module: PrunableModule, sides: Sequence[Side]) -> list[Member]:
    return [member for member in module.members if member.side in sides]
