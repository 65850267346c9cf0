"""Rehearsals: is a network one that can be trained and pruned? Asked before anything runs.

A large network is rehearsed on torch's meta device, where tensors have shapes and no values, so
that it takes no memory. If it fails there, or our tests do not cut it, it is built after all: some
networks' code needs values, and whether a cut reads the right channels shows in values alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from prune_core.errors import StrayReadError
from prune_core.models import architectures
from prune_core.models.soundness import logits_fault, unsound
from prune_core.pruning.prunable.counting import origin_of
from prune_core.pruning.prunable.cuts import (
    SHARES,
    check_counts,
    check_wiring,
    explained,
    fault_of,
    run,
    said,
    some_of,
)
from prune_core.pruning.prunable.granularities import prunable_view, unit_of
from prune_core.pruning.prunable.groups import PrunableView, Shape
from prune_core.pruning.prunable.layers import INSTEAD
from prune_core.pruning.ratios.budget import meet_budget, own_of_sizes, reach
from prune_core.pruning.ratios.solver import TOLERANCE
from prune_core.specs.registry import ALLOCATIONS, ARCHITECTURES
from prune_core.specs.stages import Pruned

LARGE = 20_000_000
"""Parameters; for smaller networks the meta device is slower, and 80 MB are no matter."""


@dataclass(frozen=True)
class Rehearsal:
    """What building and cutting a network shows.

    Attributes:
        faults: Why it cannot be trained, pruned, or lose what is asked for.
        notes: Where all allocations must give one network.
    """

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def rehearse(
    architecture: str,
    shape: Shape,
    classes: int,
    prunings: Iterable[Pruned],
    batch: int = 2,
    attacks: Sequence[str] = (),
) -> Rehearsal:
    """Build a network, look at its logits, cut it at two ratios, compare budgets with its sizes.

    Args:
        architecture: Its name.
        shape: The shape of the images that it is to be for.
        classes: Their classes.
        prunings: What is asked of it; dense networks and scores are not looked at.
        batch: The least images that a training takes at once; BatchNorm may need two.
        attacks: By which its images will be attacked.
    """
    asked: dict[str, dict[tuple[object, ...], Pruned]] = {}
    last = False
    for stage in prunings:
        last |= stage.dense.compute.channels_last
        widths = (stage.min_keep, stage.round_to, stage.leave)
        given = tuple((stage.ratios or {}).items())
        budget = (
            stage.sparsity,
            stage.budget,
            *widths,
            _spares_outputs(stage),
            given,
            own_of_sizes(stage),
        )
        asked.setdefault(stage.granularity, {})[budget] = stage
    stages = {granularity: list(asked[granularity].values()) for granularity in sorted(asked)}
    how = (architecture, shape, classes, min(batch, 2), last)
    network, on_meta = (_Network(*how, device=device) for device in ("cpu", "meta"))
    try:
        large = on_meta.is_large()
    except StrayReadError as error:  # what it imports is read the first time alone
        return Rehearsal([str(error)])
    ours = _is_ours(architecture)
    if not ours and (fault := network.unsound(attacks)):
        return Rehearsal([fault])
    rehearsal = (on_meta if large else network).rehearsed(stages)
    if large and rehearsal.faults:  # the network's code may need values
        rehearsal = network.rehearsed(stages)
    if not rehearsal.faults and not ours:
        rehearsal.faults.extend(network.compared(stages))
    return rehearsal


def _spares_outputs(stage: Pruned) -> bool:
    return "outputs" in ALLOCATIONS[stage.allocation].needs


def _is_ours(architecture: str) -> bool:
    """Say whether our tests cut this architecture; names with a placeholder are a library's."""
    method = ARCHITECTURES[architecture]
    return method.origin.startswith(f"{ARCHITECTURES.module}:") and "<" not in method.name


@dataclass(frozen=True)
class _Network:
    """A network that is built again and again, on one device."""

    architecture: str
    shape: Shape
    classes: int
    batch: int
    channels_last: bool
    device: str

    def build(self) -> nn.Module:
        even = (0.5,) * self.shape[0]
        with torch.device(self.device):
            return architectures.build(
                self.architecture, self.shape, self.classes, even, even, seed=0
            )

    def is_large(self) -> bool:
        """Say whether it is built here and large; `rehearsed` says why if it cannot be built."""
        try:
            network = self.build()
        except StrayReadError:
            raise
        except Exception:  # of the user's code, which may need the CPU: it is built there next
            return False
        return sum(p.numel() for p in network.parameters()) > LARGE

    def unsound(self, attacks: Sequence[str]) -> str | None:
        """Say what is wrong with a network of a user's own, whatever is asked of it."""
        called = f"architecture {self.architecture!r}"
        try:
            self.build()
        except Exception as error:
            return f"{called} {self._unbuilt(error)}"
        try:
            fault = unsound(self.build, self.shape, self.classes, attacks)
        # The network is the user's: its code may raise anything, and even leave.
        except (Exception, SystemExit) as error:
            fault = f"cannot take images of {self.shape}: {said(error)}"
        return fault and f"{called} {fault}"

    def _unbuilt(self, error: Exception) -> str:
        given = f"it is called with {self.shape} (channels, height, width) and {self.classes}"
        return f"cannot be built: {said(error)}; {given}"

    def rehearsed(self, asked: Mapping[str, Sequence[Pruned]]) -> Rehearsal:
        called, whole = f"architecture {self.architecture!r}", Rehearsal()
        # The network may be the user's: its code, and Torch-Pruning's on it, may raise anything.
        try:
            network = self.build()
        except Exception as error:
            return Rehearsal([f"{called} {self._unbuilt(error)}"])
        if fault := self._logits_fault(network) or self._training_fault(network):
            return Rehearsal([f"{called} {fault}"])
        for granularity, stages in asked.items():
            budgets = Rehearsal()
            try:
                fault = self._pruning_fault(granularity, stages, budgets)
            except Exception as error:
                fault = said(error)
            if refused := self._refused(granularity, fault):
                whole.faults.append(refused)
            else:
                whole.faults.extend(budgets.faults)
                whole.notes.extend(budgets.notes)
        return whole

    def _logits_fault(self, network: nn.Module) -> str | None:
        try:
            logits = run(network, self.shape)
        except Exception as error:
            return f"cannot take images of {self.shape}: {said(error)}"
        return self._fault_of_logits(logits)

    def _fault_of_logits(self, logits: object, when: str = "", count: int = 2) -> str | None:
        if fault := logits_fault(logits, count, self.classes, when):
            return fault
        assert isinstance(logits, Tensor)  # noqa: S101 - it has no fault
        if not logits.is_meta and (logits >= 0).all() and ((logits.sum(1) - 1).abs() < 1e-4).all():
            return (
                f"returns probabilities{when}, which sum to 1; it must return logits as one tensor "
                f"[n, {self.classes}], before the softmax"
            )
        return None

    def _training_fault(self, network: nn.Module) -> str | None:
        order = torch.channels_last if self.channels_last else torch.contiguous_format
        images = torch.zeros(self.batch, *self.shape, device=self.device)
        images = images.contiguous(memory_format=order)
        try:
            network.train().to(memory_format=order)
            logits = network(images)
            if fault := self._fault_of_logits(logits, " in training mode", self.batch):
                return fault
            logits.sum().backward()
        except Exception as error:
            how = " with compute.channels_last: true" if self.channels_last else ""
            alone = " with batch_size: 1" if self.batch == 1 else ""
            return f"cannot be trained{how}{alone}: {said(error)}"
        return None

    def _pruning_fault(
        self, granularity: str, stages: Sequence[Pruned], budgets: Rehearsal
    ) -> str | None:
        network = self.build()
        view = prunable_view(network, self.shape, granularity)
        if not view.modules:
            return f"there is nothing in it to prune so; use {INSTEAD}"
        for stage in stages:
            if _spares_outputs(stage):
                _ = view.outputs  # where these are not to be known, it says so
            cell = f"{self._rule(granularity)}, sparsity: {stage.sparsity:g}"
            _compare(view, stage, cell, budgets)
            budgets.faults.extend(self._ratios_faults(view, stage))
            budgets.faults.extend(self._allocation_faults(view, stage))
        if unit_of(granularity) == "weight":
            return None  # masks change no shape
        check = check_counts(self.shape, self.classes)
        for index, share in enumerate(SHARES):
            if index:  # what is left is cut again
                view = prunable_view(network, self.shape, granularity)
            if fault := fault_of(check, network, view, some_of(view, share)):
                return explained(fault, check, self.build, self.shape, granularity)
        return None

    def _allocation_faults(self, view: PrunableView, stage: Pruned) -> list[str]:
        try:
            if own_of_sizes(stage):
                origin = origin_of(self.build(), self.shape, stage.granularity)
                meet_budget(view, stage, {}, {}, origin)
        except Exception as error:  # it is the user's code
            return [said(error)]
        return []

    def _ratios_faults(self, view: PrunableView, stage: Pruned) -> list[str]:
        names = [module.name for module in view.modules]
        if stage.ratios is None or not (lacking := set(names) - set(stage.ratios)):
            return []
        missing = ", ".join(name for name in names if name in lacking)
        wanted = f"pruning.ratios of {self.architecture!r} must give a share for every module"
        return [f"{wanted}; missing: {missing}; given: {', '.join(stage.ratios)}"]

    def compared(self, granularities: Iterable[str]) -> list[str]:
        """Return faults that show in values alone."""
        faults = (
            self._refused(granularity, self._wiring_fault(granularity))
            for granularity in granularities
            if unit_of(granularity) != "weight"
        )
        return list(filter(None, faults))

    def _wiring_fault(self, granularity: str) -> str | None:
        network, check = self.build(), check_wiring(self.shape)
        view = prunable_view(network, self.shape, granularity)
        fault = fault_of(check, network, view, some_of(view, min(SHARES)))
        return fault and explained(fault, check, self.build, self.shape, granularity)

    def _refused(self, granularity: str, fault: str | None) -> str | None:
        return fault and (
            f"architecture {self.architecture!r} cannot be pruned by {granularity}: {fault}; "
            f"exclude: [{{{self._rule(granularity)}}}]"
        )

    def _rule(self, granularity: str) -> str:
        return f"architecture: {self.architecture!r}, granularity: {granularity!r}"


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
