"""Pruning: from scores and sensitivities to a smaller network that meets its budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from prune_core.allocations import Evidence, Solution, solve
from prune_core.criteria import channel_scores
from prune_core.datasets import Dataset
from prune_core.identity import derive_seed
from prune_core.modes import evaluating
from prune_core.modules import Anatomy, PrunableModule
from prune_core.registry import ALLOCATIONS, CRITERIA
from prune_core.specs import Calibration
from prune_core.stages import Pruned

Structure = dict[str, list[int]]
"""The channels that each prunable module keeps, by their index in the dense network."""


@dataclass(frozen=True)
class ModuleReport:
    """What pruning did to one module."""

    module: str
    layers: int
    mrs: float | None
    width_before: int
    width_after: int
    params_before: int
    """Parameters of the layers that make the module's channels."""
    params_after: int


@dataclass(frozen=True)
class Report:
    """What pruning achieved, measured on the real network; shares removed."""

    params: int
    macs: int
    params_removed: float
    macs_removed: float
    channels_removed: float
    shortfall: str | None
    modules: tuple[ModuleReport, ...]


def prune(
    network: nn.Module,
    data: Dataset,
    stage: Pruned,
    sensitivities: Mapping[str, float] | None,
) -> tuple[Structure, Report]:
    """Prune a dense network in place; ``sensitivities`` by module, where the allocation asks.

    Raises ValueError where a criterion misbehaves, RuntimeError where the network did not become
    what was solved for.
    """
    anatomy = Anatomy(network, data.shape)
    before = (count_params(network), count_macs(network, data.shape))
    maker_params = _maker_params(network, anatomy.modules)
    scores = channel_scores(
        network,
        anatomy.modules,
        stage.criterion,
        lambda: calibration_gradients(network, data, stage.calibration or Calibration(), stage.key),
        stage.key,
    )
    solution = _allocate(anatomy, scores, stage, sensitivities)
    structure = {
        name: sorted(torch.argsort(scores[name], descending=True, stable=True)[:count].tolist())
        for name, count in solution.kept.items()
    }
    anatomy.remove(structure)
    after = (count_params(network), count_macs(network, data.shape))
    _check(after, anatomy, solution)
    after_params = _maker_params(network, anatomy.modules)
    kept, total = sum(solution.kept.values()), sum(anatomy.channels.values())
    return structure, Report(
        params=after[0],
        macs=after[1],
        params_removed=1 - after[0] / before[0],
        macs_removed=1 - after[1] / before[1],
        channels_removed=1 - kept / total,
        shortfall=solution.shortfall,
        modules=tuple(
            ModuleReport(
                module=module.name,
                layers=len(module.makers()),
                mrs=sensitivities.get(module.name) if sensitivities else None,
                width_before=module.channels,
                width_after=solution.kept[module.name],
                params_before=maker_params[module.name],
                params_after=after_params[module.name],
            )
            for module in anatomy.modules
        ),
    )


def rebuild(network: nn.Module, shape: tuple[int, int, int], structure: Structure) -> None:
    """Cut a freshly built network down to a structure, ready for the pruned weights."""
    Anatomy(network, shape).remove(structure)


def calibration_gradients(
    network: nn.Module, data: Dataset, calibration: Calibration, key: str
) -> dict[str, Tensor]:
    """Return the gradient of the mean cross-entropy on training images by every layer's weight."""
    draw = torch.Generator().manual_seed(derive_seed(key, "calibration"))
    index = torch.randperm(len(data.train), generator=draw)[: calibration.samples]
    sample = data.train.take(index.to(data.train.labels.device))
    weights = {
        name: layer.weight
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    }
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    with evaluating(network), torch.enable_grad():
        for images, labels in sample.batches(calibration.batch_size):
            loss = F.cross_entropy(network(images), labels, reduction="sum") / len(sample)
            gradients = torch.autograd.grad(loss, list(weights.values()))
            for name, gradient in zip(weights, gradients, strict=True):
                total[name] += gradient
    return total


def count_params(network: nn.Module) -> int:
    """Count the parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_macs(network: nn.Module, shape: tuple[int, int, int]) -> int:
    """Count the multiply-accumulates of convolutions and linear layers for one image."""
    device = next(network.parameters()).device
    with evaluating(network), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, *shape, device=device))
    return int(counter.get_total_flops()) // 2


def _allocate(
    anatomy: Anatomy,
    scores: Mapping[str, Tensor],
    stage: Pruned,
    sensitivities: Mapping[str, float] | None,
) -> Solution:
    comparable = "comparable" in CRITERIA[stage.criterion].traits
    evidence = Evidence(
        channels=anatomy.channels,
        scores={name: _comparable(score, comparable) for name, score in scores.items()},
        sensitivities=sensitivities or {},
        exponent=stage.mrs_exponent or 0.0,
    )
    allocation = ALLOCATIONS.load(stage.allocation)
    return solve(
        anatomy.channels,
        lambda dial: allocation(evidence, dial),
        lambda kept: anatomy.costs.cost(stage.budget, kept),
        removed=stage.sparsity,
        min_keep=stage.min_keep,
    )


def _comparable(scores: Tensor, already: bool) -> list[float]:
    """Divide by the module's mean, unless the criterion's scores compare between modules as are."""
    mean = scores.mean().abs().clamp_min(torch.finfo(scores.dtype).tiny)
    return [float(score) for score in (scores if already else scores / mean)]


def _maker_params(network: nn.Module, modules: Sequence[PrunableModule]) -> dict[str, int]:
    return {
        module.name: sum(
            parameter.numel()
            for layer in module.makers()
            for parameter in network.get_submodule(layer).parameters(recurse=False)
        )
        for module in modules
    }


def _check(after: tuple[int, int], anatomy: Anatomy, solution: Solution) -> None:
    expected = (anatomy.costs.params(solution.kept), anatomy.costs.macs(solution.kept))
    if after != expected:
        raise RuntimeError(
            f"the pruned network has {after[0]} parameters and {after[1]} MACs; "
            f"its cost model says {expected[0]} and {expected[1]}"
        )
