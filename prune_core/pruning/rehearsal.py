"""Rehearsals: is a network one that can be trained and pruned? Asked before anything runs."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from prune_core.data.datasets import Dataset
from prune_core.models import architectures
from prune_core.models.state import evaluating
from prune_core.pruning.budget import reach
from prune_core.pruning.counting import count_macs, count_params
from prune_core.pruning.granularities import prunable_view, unit_of
from prune_core.pruning.groups import PrunableView, Shape
from prune_core.pruning.solver import TOLERANCE
from prune_core.specs.stages import Pruned

SHARES = (0.3, 0.7)
"""Of the units of every module that are kept."""


@dataclass(frozen=True)
class Rehearsal:
    """What building and cutting a network shows.

    Attributes:
        faults: Why it cannot be trained, pruned, or lose what is asked for.
        notes: Where all allocations must give one network.
    """

    faults: list[str]
    notes: list[str]


def rehearse(architecture: str, data: Dataset, prunings: Iterable[Pruned]) -> Rehearsal:
    """Build a network, look at its logits, cut it at two ratios, compare budgets with its sizes.

    Args:
        architecture: Its name.
        data: Images and classes that it is to be for.
        prunings: What is asked of it; dense networks and scores are not looked at.
    """
    # The network may be the user's: its code, and Torch-Pruning's on it, may raise anything.
    try:
        network = architectures.build(
            architecture, data.shape, data.classes, data.mean, data.std, seed=0
        )
    except Exception as error:
        return Rehearsal([f"architecture {architecture!r} cannot be built: {_said(error)}"], [])
    if fault := _logits_fault(network, data.shape, data.classes):
        return Rehearsal([f"architecture {architecture!r} {fault}"], [])
    asked: dict[str, dict[tuple[object, ...], Pruned]] = {}
    for stage in prunings:
        budget = (stage.sparsity, stage.budget, stage.min_keep)
        asked.setdefault(stage.granularity, {})[budget] = stage
    rehearsal = Rehearsal([], [])
    for granularity in sorted(asked):
        rule = f"architecture: {architecture!r}, granularity: {granularity!r}"
        faults = [
            f"architecture {architecture!r} cannot be pruned by {granularity}: {fault}; "
            f"exclude: [{{{rule}}}]"
            for fault in _cut_faults(network, data.shape, data.classes, granularity)
        ]
        rehearsal.faults.extend(faults)
        if not faults:
            view = prunable_view(network, data.shape, granularity)
            for stage in asked[granularity].values():
                _compare(view, stage, f"{rule}, sparsity: {stage.sparsity:g}", rehearsal)
    return rehearsal


def _compare(view: PrunableView, stage: Pruned, cell: str, rehearsal: Rehearsal) -> None:
    """Add a fault where a budget is out of reach, a note where it is reached in one way alone."""
    least, most = reach(view, stage)
    if least < stage.sparsity < most:
        return
    limit = (
        f"at most {most:.1%} of its {stage.budget} go, with pruning.min_keep {stage.min_keep:g} "
        "and one unit a module at least"
        if stage.sparsity >= most
        else f"at least {least:.1%} of its {stage.budget} go"
    )
    if least - TOLERANCE <= stage.sparsity <= most + TOLERANCE:
        rehearsal.notes.append(f"{{{cell}}}: {limit}, so all allocations give one network")
    else:
        rehearsal.faults.append(f"{{{cell}}} cannot be: {limit}; exclude: [{{{cell}}}]")


def _logits_fault(network: nn.Module, shape: Shape, classes: int) -> str | None:
    try:
        with evaluating(network), torch.no_grad():
            logits = network(torch.zeros(2, *shape))
    except Exception as error:
        return f"cannot take images of {shape}: {_said(error)}"
    wanted = f"it must return logits as one tensor [n, {classes}]"
    if not isinstance(logits, Tensor):
        return f"returns a {type(logits).__name__}; {wanted}"
    if logits.shape != (2, classes):
        return f"returns a tensor {list(logits.shape)} for 2 images; {wanted}"
    return None


def _cut_faults(network: nn.Module, shape: Shape, classes: int, granularity: str) -> Iterator[str]:
    """Give the first fault, if there is any."""
    for share in SHARES:
        cut = copy.deepcopy(network)
        try:
            view = prunable_view(cut, shape, granularity)
            if unit_of(granularity) == "weight":
                return  # masks change no shape
            kept = {m.name: list(range(max(1, round(share * m.units)))) for m in view.modules}
            counts = np.array([len(kept[module.name]) for module in view.modules])
            expected = int(view.costs.params(counts)), int(view.costs.macs(counts))
            view.remove(kept)
            after = count_params(cut), count_macs(cut, shape)
            fault = _logits_fault(cut, shape, classes)
        except Exception as error:
            yield _said(error)
            return
        if fault or after != expected:
            yield fault or (
                f"with {share:.0%} of its units it has {after[0]} parameters and {after[1]} MACs, "
                f"and by the cost model {expected[0]} and {expected[1]}: a layer is of a kind that "
                "is not counted rightly; use granularity weight"
            )
            return


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
