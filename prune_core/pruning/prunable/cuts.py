"""Cuts on trial: a network is cut, and what is left is counted, run and compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from prune_core.errors import PruneCoreError
from prune_core.models.state import evaluating
from prune_core.pruning.prunable.counting import count_macs, count_params
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.prunable.groups import PrunableView, Shape
from prune_core.pruning.prunable.layers import INSTEAD
from prune_core.pruning.prunable.wiring import is_cut_rightly

Kept = Mapping[str, Sequence[int]]
Check = Callable[[nn.Module, PrunableView, Kept], str | None]
"""Cuts a network and says what is wrong with what is left; None if nothing is."""
SHARES = (0.7, 0.3)
"""Of the units of every module that are kept."""


def said(error: BaseException) -> str:
    """Return an error as text, its kind first where it is not ours."""
    if isinstance(error, PruneCoreError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def some_of(view: PrunableView, share: float, first: int | None = None) -> Kept:
    """Draw a share of each module's units, the same every time; after the first few modules all."""
    draw = torch.Generator().manual_seed(0)
    kept: dict[str, list[int]] = {}
    for index, module in enumerate(view.modules):
        count = max(1, round(share * module.units))
        drawn = torch.randperm(module.units, generator=draw)[:count].sort().values.tolist()
        whole = first is not None and index >= first
        kept[module.name] = list(range(module.units)) if whole else drawn
    return kept


def run(network: nn.Module, shape: Shape) -> object:
    """Return what a network makes of two images in eval mode; it should be logits."""
    device = next(network.parameters()).device
    with evaluating(network), torch.no_grad():
        logits: object = network(torch.zeros(2, *shape, device=device))
    return logits


def check_counts(shape: Shape, classes: int) -> Check:
    """Return the check that a cut network runs, and is as large as the cost model says."""

    def check(network: nn.Module, view: PrunableView, kept: Kept) -> str | None:
        counts = np.array([len(kept[module.name]) for module in view.modules], dtype=np.int64)
        expected = int(view.costs.params(counts)), int(view.costs.macs(counts))
        view.remove(kept)
        after = count_params(network), count_macs(network, shape)
        logits = run(network, shape)
        if not isinstance(logits, Tensor) or logits.shape != (2, classes):
            return f"the cut network no longer returns logits [n, {classes}]"
        if after != expected:
            return (
                f"the cut network has {after[0]} parameters and {after[1]} MACs, and by the cost "
                f"model {expected[0]} and {expected[1]}"
            )
        return None

    return check


def check_wiring(shape: Shape) -> Check:
    """Return the check that a cut network computes what it does with those channels at zero."""

    def check(network: nn.Module, view: PrunableView, kept: Kept) -> str | None:
        if is_cut_rightly(network, view, kept, shape):
            return None
        return "the cut network reads other channels than the whole one"

    return check


def fault_of(check: Check, network: nn.Module, view: PrunableView, kept: Kept) -> str | None:
    """Return what a check finds, or the error that the network's own code raises."""
    try:
        return check(network, view, kept)
    except Exception as error:
        return said(error)


def explained(
    fault: str, check: Check, build: Callable[[], nn.Module], shape: Shape, granularity: str
) -> str:
    """Return a fault with the module that makes it, found by cutting fewer and fewer of them."""

    def fails(first: int) -> bool:
        network = build()
        view = prunable_view(network, shape, granularity)
        return fault_of(check, network, view, some_of(view, min(SHARES), first)) is not None

    modules = prunable_view(build(), shape, granularity).modules
    whole, cut = 0, len(modules)
    named = fails(cut)
    while named and cut - whole > 1:
        middle = (whole + cut) // 2
        whole, cut = (whole, middle) if fails(middle) else (middle, cut)
    where = f"{modules[cut - 1].name}: " if named else ""
    return (
        f"{where}{fault}; Torch-Pruning does not see how its channels depend on those of other "
        f"layers: use {INSTEAD}"
    )
