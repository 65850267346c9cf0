"""Pruning: from scores and sensitivities to a smaller network that meets its budget."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prune_core.pruning.prunable import masks
from prune_core.pruning.prunable.counting import Origin, count_macs, count_params, origin_of
from prune_core.pruning.prunable.granularities import prunable_view, unit_of
from prune_core.pruning.prunable.groups import PrunableView, Shape, Structure
from prune_core.pruning.ratios.budget import meet_budget
from prune_core.pruning.ratios.sensitivities import Measured, by_module
from prune_core.pruning.ratios.solver import Solution
from prune_core.pruning.reports import Report, make_report
from prune_core.specs.keys import KEY_DIGITS, canonical
from prune_core.specs.stages import Pruned

Bitmaps = dict[str, bytes]
DRAWN = 1024
"""Weights of a layer whose fate is written down; the error of a share is 1.6 points at most."""


def prune(
    network: nn.Module,
    shape: Shape,
    stage: Pruned,
    scores: Mapping[str, Tensor],
    ranking: Mapping[str, Tensor] | None = None,
    sensitivities: Mapping[str, Measured] | None = None,
    origin: Origin | None = None,
) -> tuple[Structure, Report]:
    """Prune a network in place.

    Args:
        network: The network, whole or pruned before.
        shape: The shape of an image.
        stage: What is asked for.
        scores: Those of every unit by module [units]; the lowest go.
        ranking: Those that the allocation ranks, where they are others.
        sensitivities: By layer, or by module where units were removed; where the allocation reads
            them.
        origin: The dense network, where this one is smaller already.

    Returns:
        Which units of *this* network are left, and what was achieved.

    Raises:
        RuntimeError: Where the network did not become what was solved for.
    """
    origin = origin or origin_of(network, shape, stage.granularity)
    view = prunable_view(network, shape, stage.granularity)
    by = dict(sensitivities or {})
    if stage.sensitivity is not None and stage.sensitivity.scores is None:
        by = by_module(view.modules, by)
    ranked = ranking if ranking is not None else scores
    solution = meet_budget(view, stage, ranked, by, origin)
    kept = {
        module.name: view.select(module, scores[module.name], solution.kept[module.name])
        for module in view.modules
    }
    try:
        structure = view.remove(kept)
        after = (count_params(network), count_macs(network, shape))
        _check(after, view, solution)
    except torch.OutOfMemoryError:  # a RuntimeError too, and no fault of the network's
        raise
    except (IndexError, RuntimeError) as error:
        why = str(error).partition("\n")[0]  # torch's may go on for a page
        raise RuntimeError(
            f"the network could not be pruned by {stage.granularity}: {why}; its layers depend "
            "on each other in ways that Torch-Pruning's graph does not see: use granularity weight"
        ) from error
    channels = unit_of(stage.granularity) == "channel"
    return structure, make_report(network, after, view.modules, solution, by, origin, channels)


def rebuild(network: nn.Module, shape: Shape, granularity: str, structure: Structure) -> None:
    """Cut a freshly built network down to a structure, ready for the pruned weights."""
    if unit_of(granularity) == "channel":
        prunable_view(network, shape, granularity).remove(structure)
    else:
        for name in structure:
            masks.attach(network.get_submodule(name))


def compose(first: Structure, second: Structure) -> Structure:
    """Return the structure of a network pruned twice, by the dense network's indices."""
    return {name: [first[name][unit] for unit in kept] for name, kept in second.items()}


def digest(network: nn.Module, structure: Structure) -> str:
    """Return a digest of the units that a pruned network keeps: equal where two were cut alike."""
    kept = hashlib.sha256(canonical(structure).encode())
    for layer in masks.maskable(network).values():
        kept.update(np.packbits(masks.mask_of(layer).cpu().numpy()).tobytes())
    return kept.hexdigest()[:KEY_DIGITS]


def kept_bitmaps(network: nn.Module, structure: Structure, units: Mapping[str, int]) -> Bitmaps:
    """Return which units of the dense network a pruned one keeps, by module.

    Args:
        network: The pruned network.
        structure: By module, the units kept; none under masks.
        units: By module, how many the dense network has.

    Returns:
        Bitmaps, highest bit first: of all channels; of a layer's weights, or of `DRAWN` of them if
        it has more, drawn alike in all networks, so that two bitmaps can be laid side by side.
    """
    layers = masks.maskable(network)
    bits = {name: np.isin(np.arange(units[name]), kept) for name, kept in structure.items() if kept}
    bits |= {
        name: masks.mask_of(layers[name]).flatten().cpu().numpy()[_drawn(units[name])]
        for name, kept in structure.items()
        if not kept
    }
    return {name: np.packbits(kept).tobytes() for name, kept in bits.items()}


def _drawn(units: int) -> NDArray[np.intp]:
    """Return the weights that a bitmap tells of; not every n-th one, for n:m masks repeat."""
    if units <= DRAWN:
        return np.arange(units)
    legacy = np.random.RandomState(0)  # numpy keeps its numbers the same in all versions
    return np.sort(legacy.permutation(units)[:DRAWN])


def _check(after: tuple[int, int], view: PrunableView, solution: Solution) -> None:
    kept = np.array([solution.kept[module.name] for module in view.modules], dtype=np.int64)
    expected = (int(view.costs.params(kept)), int(view.costs.macs(kept)))
    if after != expected:
        raise RuntimeError(
            f"the pruned network has {after[0]} parameters and {after[1]} MACs; "
            f"its cost model says {expected[0]} and {expected[1]}"
        )
