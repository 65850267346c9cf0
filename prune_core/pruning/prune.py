"""Pruning: from scores and sensitivities to a smaller network that meets its budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prune_core.pruning import masks
from prune_core.pruning.allocations import Evidence
from prune_core.pruning.costs import Budget, Counts, cost
from prune_core.pruning.groups import PrunableModule, PrunableView, Structure, positions
from prune_core.pruning.sensitivities import LayerSensitivity, by_module
from prune_core.pruning.solver import Limits, Solution, solve
from prune_core.specs.keys import derive_seed
from prune_core.specs.registry import ALLOCATIONS, CRITERIA, GRANULARITIES
from prune_core.specs.stages import Pruned, Scores

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class ModuleReport:
    """What pruning did to one module; units are channels, or weights."""

    module: str
    layers: int
    mrs: float | None
    mrs_spread: float | None
    width_before: int
    width_after: int
    params_before: int
    """Parameters of the layers that make the module's units, in the dense network."""
    params_after: int


@dataclass(frozen=True)
class Report:
    """What pruning achieved, measured on the real network; shares of the dense one removed."""

    params: int
    macs: int
    params_removed: float
    macs_removed: float
    channels_removed: float | None
    """None under masks, which remove no channel as such."""
    shortfall: str | None
    modules: tuple[ModuleReport, ...]


@dataclass(frozen=True)
class Origin:
    """The dense network that shares are of: units, parameters by module, parameters and MACs."""

    units: dict[str, int]
    module_params: dict[str, int]
    params: int
    macs: int


def prunable_view(network: nn.Module, shape: Shape, granularity: str) -> PrunableView:
    """Return a network as a granularity sees it."""
    view: PrunableView = GRANULARITIES.load(granularity)(network, shape)
    return view


def unit_of(granularity: str) -> str:
    """Return the unit of a granularity: channel or weight."""
    return "weight" if "weights" in GRANULARITIES[granularity].traits else "channel"


def origin_of(network: nn.Module, shape: Shape, granularity: str) -> Origin:
    """Measure the dense network."""
    modules = prunable_view(network, shape, granularity).modules
    return Origin(
        {module.name: module.units for module in modules},
        _maker_params(network, modules),
        count_params(network),
        count_macs(network, shape),
    )


def prune(
    network: nn.Module,
    shape: Shape,
    stage: Pruned,
    scores: Mapping[str, Tensor],
    ranking: Mapping[str, Tensor] | None = None,
    sensitivities: Mapping[str, LayerSensitivity] | None = None,
    origin: Origin | None = None,
) -> tuple[Structure, Report]:
    """Prune a network in place.

    ``scores`` are those of every unit by module, ``ranking`` those that the allocation ranks where
    they are others, ``sensitivities`` by layer, ``origin`` the dense network where this one is
    smaller already. The structure says which units of *this* network are left. Raises RuntimeError
    where the network did not become what was solved for.
    """
    origin = origin or origin_of(network, shape, stage.granularity)
    view = prunable_view(network, shape, stage.granularity)
    by = by_module(view.modules, sensitivities) if sensitivities else {}
    ranked = ranking if ranking is not None else scores
    solution = _allocate(view, stage, ranked, {n: s.value for n, s in by.items()}, origin)
    kept = {
        module.name: view.select(module, scores[module.name], solution.kept[module.name])
        for module in view.modules
    }
    try:
        structure = view.remove(kept)
        after = (count_params(network), count_macs(network, shape))
        _check(after, view, solution)
    except (IndexError, RuntimeError) as error:
        raise RuntimeError(
            f"the network could not be pruned by {stage.granularity}: {error}; its layers depend "
            "on each other in ways that Torch-Pruning's graph does not see: use granularity weight"
        ) from error
    after_params = _maker_params(network, view.modules)
    channels = unit_of(stage.granularity) == "channel"
    return structure, Report(
        params=after[0],
        macs=after[1],
        params_removed=1 - after[0] / origin.params,
        macs_removed=1 - after[1] / origin.macs,
        channels_removed=(
            1 - sum(solution.kept.values()) / sum(origin.units.values()) if channels else None
        ),
        shortfall=solution.shortfall,
        modules=tuple(
            ModuleReport(
                module=module.name,
                layers=len(module.makers()),
                mrs=by[module.name].value if by else None,
                mrs_spread=by[module.name].spread if by else None,
                width_before=origin.units[module.name],
                width_after=solution.kept[module.name],
                params_before=origin.module_params[module.name],
                params_after=after_params[module.name],
            )
            for module in view.modules
        ),
    )


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


def count_params(network: nn.Module) -> int:
    """Count the parameters of a network that are not masked."""
    whole = sum(parameter.numel() for parameter in network.parameters())
    layers = masks.masked(network)
    return (
        whole
        - sum(layer.get_parameter("weight").numel() for layer in layers)
        + sum(map(masks.weights_left, layers))
    )


def count_macs(network: nn.Module, shape: Shape) -> int:
    """Count multiply-accumulates of convolutions and linear layers for one image, masks aside.

    Products of activations with each other, as in attention, are not among them.
    """
    layers, places = masks.maskable(network), positions(network, shape)
    return sum(places[name] * masks.weights_left(layer) for name, layer in layers.items())


def _allocate(
    view: PrunableView,
    stage: Pruned,
    scores: Mapping[str, Tensor],
    sensitivities: Mapping[str, float],
    origin: Origin,
) -> Solution:
    allocation = ALLOCATIONS.load(stage.allocation)
    needs_scores = any(need.startswith("scores") for need in ALLOCATIONS[stage.allocation].needs)
    ranked = stage.ranking or stage.scores
    evidence = Evidence(
        units={module.name: module.units for module in view.modules},
        shapes={module.name: module.shape for module in view.modules},
        scores={
            module.name: _comparable(scores[module.name], ranked, view.allowed(module))
            for module in view.modules
            if needs_scores
        },
        sensitivities=sensitivities,
        prices=_prices(view, stage.budget),
        ratios=stage.ratios or {},
        exponent=stage.mrs_exponent or 0.0,
        seed=derive_seed(stage.network.key, "allocation"),
    )
    limits = {
        module.name: Limits(
            module.units,
            Limits.of(origin.units[module.name], stage.min_keep, _cap(module)).floor,
            _cap(module),
        )
        for module in view.modules
    }

    def price(kept: Counts) -> Counts:
        return cost(view.costs, stage.budget, kept)

    return solve(
        limits,
        lambda dial: allocation(evidence, dial),
        price,
        removed=stage.sparsity,
        exactly=unit_of(stage.granularity) == "weight",
        whole=origin.params if stage.budget == "params" else origin.macs,
    )


def _prices(view: PrunableView, budget: Budget) -> dict[str, float]:
    """Return what each module costs in the whole network, by what a unit less of it would save."""
    units = np.array([module.units for module in view.modules], dtype=np.int64)
    saved = cost(view.costs, budget, units) - cost(
        view.costs, budget, units - np.eye(len(units), dtype=np.int64)
    )
    names = (module.name for module in view.modules)
    return dict(zip(names, (saved * units).astype(float).tolist(), strict=True))


def _cap(module: PrunableModule) -> int:
    return module.units if module.cap is None else module.cap


def _comparable(scores: Tensor, ranked: Scores, allowed: Tensor | None) -> NDArray[np.float64]:
    """Divide by the module's mean, unless the criterion's scores compare between modules as are.

    What may not be kept ranks below everything.
    """
    found = scores.double()
    left = found if allowed is None else found[allowed]
    if "comparable" not in CRITERIA[ranked.criterion].traits and len(left):
        found = found / left.mean().abs().clamp_min(torch.finfo(torch.float32).tiny)
    if allowed is not None:
        found = found.masked_fill(~allowed, -torch.inf)
    return np.asarray(found.cpu().numpy(), dtype=np.float64)


def _maker_params(network: nn.Module, modules: Sequence[PrunableModule]) -> dict[str, int]:
    def count(name: str) -> int:
        layer = network.get_submodule(name)
        bias = getattr(layer, "bias", None)
        return masks.weights_left(layer) + (0 if bias is None else bias.numel())

    return {module.name: sum(count(layer) for layer in module.makers()) for module in modules}


def _check(after: tuple[int, int], view: PrunableView, solution: Solution) -> None:
    kept = np.array([solution.kept[module.name] for module in view.modules], dtype=np.int64)
    expected = (int(view.costs.params(kept)), int(view.costs.macs(kept)))
    if after != expected:
        raise RuntimeError(
            f"the pruned network has {after[0]} parameters and {after[1]} MACs; "
            f"its cost model says {expected[0]} and {expected[1]}"
        )
