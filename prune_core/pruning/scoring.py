"""Scoring: a criterion applied to every module of a network, its layers' scores joined."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from prune_core.data.datasets import Dataset
from prune_core.pruning.criteria import l2
from prune_core.pruning.groups import Member, PrunableModule
from prune_core.pruning.layer import Layer
from prune_core.pruning.signals import Signals, contributions
from prune_core.specs.keys import derive_seed
from prune_core.specs.registry import CRITERIA
from prune_core.specs.stages import Scores

Criterion = Callable[[Layer], Tensor]


def score(
    network: nn.Module, data: Dataset, modules: Sequence[PrunableModule], stage: Scores
) -> dict[str, Tensor]:
    """Score every unit of every module; the lowest are pruned first.

    Where a module has no layer of the kind that the criterion reads (no normalisation, say), the
    l2 norm of its weights decides.

    Returns:
        Scores by module [units].

    Raises:
        ValueError: Where a criterion returns another shape, or what is not finite.
    """
    scorer = _Scorer(network, data, modules, stage)
    return {module.name: scorer.module_scores(module) for module in modules}


class _Scorer:
    def __init__(
        self, network: nn.Module, data: Dataset, modules: Sequence[PrunableModule], stage: Scores
    ):
        self._network = network
        self._parameters = dict(network.named_parameters())
        self._stage = stage
        self._method = CRITERIA[stage.criterion]
        self._criterion: Criterion = CRITERIA.load(stage.criterion)
        self._signals = Signals(network, data, modules, stage)
        self._shown: dict[tuple[str, Member], Tensor] = {}
        if {"maps", "inputs"} & set(self._method.needs):
            self._watch(modules)

    def module_scores(self, module: PrunableModule) -> Tensor:
        """Return the scores of a module's units: the mean, or the sum, over its layers."""
        members = self._members(module)
        read = self._criterion if members else l2
        members = members or [m for m in module.members if m.side in ("out", "in")]
        scored = []
        for member in members:
            scores = self._shown.get((module.name, member))
            if scores is None:
                scores = self._checked(read(self._layer(module, member)), member)
            scored.append((member, scores))
        total = torch.zeros(module.units, device=scored[0][1].device, dtype=torch.float32)
        summed = "summed" in self._method.traits
        for member, scores in scored:
            index = torch.as_tensor(member.channels, device=scores.device)
            each = 1 if summed else len(index) // module.units
            total.index_add_(0, index, scores / each)
        return total if summed else total / len(scored)

    def _members(self, module: PrunableModule) -> list[Member]:
        """Return the members that the criterion reads."""
        needs = self._method.needs
        norms = [
            m
            for m in module.members
            if m.side == "norm" and f"{m.layer}.weight" in self._parameters
        ]
        if "norms" in needs:
            return norms
        if "maps" in needs:
            return norms or [m for m in module.members if m.side == "out"]
        sides = ("in",) if "inputs" in needs else ("out", "in", "weight")
        return [m for m in module.members if m.side in sides]

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
            if inputs:
                module = next(m for m in modules if m.name == name)
                scores = self._criterion(self._layer(module, member, torch.cat(parts)))
            else:
                scores = torch.stack(parts).mean(0)
            self._shown[name, member] = self._checked(scores, member)

    def _looker(
        self, module: PrunableModule, member: Member, parts: list[Tensor]
    ) -> Callable[[Tensor, Tensor], None]:
        layer = self._network.get_submodule(member.layer)
        units = list(member.units)
        draw = torch.Generator().manual_seed(derive_seed(self._stage.key, "places", member.layer))

        def look(read: Tensor, made: Tensor) -> None:
            if "inputs" in self._method.needs:
                parts.append(contributions(layer, read, draw)[:, units])
            else:
                maps = _as_maps(layer, made)[:, units].relu()
                parts.append(self._criterion(self._layer(module, member, maps)))

        return look

    def _checked(self, scores: Tensor, member: Member) -> Tensor:
        count = len(member.units)
        if scores.shape != (count,) or not scores.isfinite().all():
            raise ValueError(
                f"criterion {self._stage.criterion!r} on {member.layer}: scores must be {count} "
                f"finite numbers, shape [{count}]; got shape {list(scores.shape)}"
            )
        return scores.float()


def _as_maps(layer: nn.Module, output: Tensor) -> Tensor:
    """Return a layer's output as [images, channels, height, width]; tokens lie along the width."""
    last = isinstance(layer, nn.Linear) or (
        isinstance(layer, nn.LayerNorm) and output.shape[1] != layer.normalized_shape[0]
    )
    if last:
        output = output.movedim(-1, 1)
    return output.reshape(*output.shape[:2], *(output.shape[2:] if output.dim() == 4 else (1, -1)))
