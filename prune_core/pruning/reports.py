"""Reports: what pruning achieved, for a network and for each of its modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from prune_core.pruning.prunable.counting import Origin, maker_params
from prune_core.pruning.prunable.groups import PrunableModule
from prune_core.pruning.ratios.sensitivities import Measured
from prune_core.pruning.ratios.solver import Solution


@dataclass(frozen=True)
class ModuleReport:
    """What pruning did to one module.

    Attributes:
        module: The name of the module.
        layers: The number of layers that make its units.
        mrs: Its sensitivity; None if none was measured.
        mrs_spread: The difference between the restarts of the most sensitive layer; None without
            restarts.
        width_before: The number of units in the dense network, channels or weights.
        width_after: The number of units that it keeps.
        params_before: The parameters of the layers that make its units, in the dense network.
        params_after: The parameters of these layers after pruning.
    """

    module: str
    layers: int
    mrs: float | None
    mrs_spread: float | None
    width_before: int
    width_after: int
    params_before: int
    params_after: int


@dataclass(frozen=True)
class Report:
    """What pruning achieved, measured on the pruned network.

    Attributes:
        params: The parameters that are left.
        macs: The multiply-accumulates that are left, for one image.
        params_removed: The share of the dense network's parameters that is removed.
        macs_removed: The share of its multiply-accumulates that is removed.
        channels_removed: The share of its channels that is removed; None under masks.
        shortfall: Why the budget was not met; None if it was.
        modules: What happened to each module.
    """

    params: int
    macs: int
    params_removed: float
    macs_removed: float
    channels_removed: float | None
    shortfall: str | None
    modules: tuple[ModuleReport, ...]


def make_report(
    network: nn.Module,
    after: tuple[int, int],
    modules: Sequence[PrunableModule],
    solution: Solution,
    sensitivities: Mapping[str, Measured],
    origin: Origin,
    channels: bool,
) -> Report:
    """Report on a network that was just pruned.

    Args:
        network: The pruned network.
        after: The parameters and MACs that it has now.
        modules: Its prunable modules before it was pruned.
        solution: The units that each was to keep.
        sensitivities: By module; empty where none were measured.
        origin: The dense network.
        channels: Whether channels were removed, and not single weights.
    """
    after_params = maker_params(network, modules)
    return Report(
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
                mrs=sensitivities[module.name].value if sensitivities else None,
                mrs_spread=sensitivities[module.name].spread if sensitivities else None,
                width_before=origin.units[module.name],
                width_after=solution.kept[module.name],
                params_before=origin.module_params[module.name],
                params_after=after_params[module.name],
            )
            for module in modules
        ),
    )
