"""Rehearsals: is a network one that can be trained and pruned? Asked before anything runs."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from prune_core.data.datasets import Dataset
from prune_core.models import architectures
from prune_core.models.state import evaluating
from prune_core.pruning.counting import count_macs, count_params
from prune_core.pruning.granularities import prunable_view, unit_of
from prune_core.pruning.groups import Shape

SHARES = (0.3, 0.7)
"""Of the units of every module that are kept."""


def faults_of(architecture: str, data: Dataset, granularities: Iterable[str]) -> list[str]:
    """Build a network, look at its logits, cut it at two ratios; return what is wrong with it.

    Args:
        architecture: Its name.
        data: Images and classes that it is to be for.
        granularities: Those that it is to be pruned by.
    """
    # The network may be the user's: its code, and Torch-Pruning's on it, may raise anything.
    try:
        network = architectures.build(
            architecture, data.shape, data.classes, data.mean, data.std, seed=0
        )
    except Exception as error:
        return [f"architecture {architecture!r} cannot be built: {_said(error)}"]
    if fault := _logits_fault(network, data.shape, data.classes):
        return [f"architecture {architecture!r} {fault}"]
    return [
        f"architecture {architecture!r} cannot be pruned by {granularity}: {fault}; "
        f"exclude: [{{architecture: {architecture!r}, granularity: {granularity!r}}}]"
        for granularity in granularities
        for fault in _cut_faults(network, data.shape, granularity)
    ]


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


def _cut_faults(network: nn.Module, shape: Shape, granularity: str) -> Iterator[str]:
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
            fault = _logits_fault(cut, shape, int(network(torch.zeros(1, *shape)).shape[1]))
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
