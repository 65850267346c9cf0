"""What allocations read of a network."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from prune_core.pruning.prunable.costs import Counts
from prune_core.pruning.ratios.curves import Curve, Floats, path


def _total(kept: Counts) -> Counts:
    """Return the number of units: the cost where each costs the same."""
    return np.asarray(kept.sum(-1))


@dataclass(frozen=True)
class Evidence:
    """What an allocation may read, by module.

    Attributes:
        units: The number of units.
        shapes: The shape of the root layer's weight: outputs, inputs, kernel.
        outputs: The modules that make the logits, if the allocation needs them.
        scores: A criterion's score of every unit; -inf for what may not be kept.
        sensitivities: The sensitivity that the allocation needs.
        curves: The damage by the share removed, if the allocation needs it.
        ratios: The shares to keep that the user gives.
        prices: What the module costs in the whole network, in the unit of the budget.
        cost: From units kept [..., modules] to the network's cost [...].
        exponent: Shares are proportional to sensitivities to this power.
        seed: The seed of all random numbers.
    """

    units: Mapping[str, int]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    outputs: frozenset[str] = frozenset()
    scores: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    sensitivities: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    ratios: Mapping[str, float] = field(default_factory=dict)
    prices: Mapping[str, float] = field(default_factory=dict)
    cost: Callable[[Counts], Counts] = _total
    exponent: float = 0.5
    seed: int = 0

    @cached_property
    def ranked(self) -> NDArray[np.int64]:
        """The modules of all units, as positions in ``scores``, in the order of falling scores."""
        return _ranked(list(self.scores.values()))

    @cached_property
    def ranked_by_mean(self) -> NDArray[np.int64]:
        """As ``ranked``, by scores that are divided by the mean of their module."""
        return _ranked([scores / _mean_size(scores) for scores in self.scores.values()])

    @cached_property
    def path(self) -> Floats:
        """Shares kept [steps, modules] as the network goes where that hurts least for its cost."""
        return self._path([self.curves[name] for name in self.units])

    @cached_property
    def path_shuffled(self) -> Floats:
        """As ``path``, with the curves dealt out at random."""
        curves = [self.curves[name] for name in self.units]
        random.Random(self.seed).shuffle(curves)  # noqa: S311 - a control, not a secret
        return self._path(curves)

    @cached_property
    def path_reversed(self) -> Floats:
        """As ``path``, with the curve of the largest damage for the module of the smallest, etc."""
        order = sorted(self.units, key=lambda name: float(self.curves[name].at(0.5)))
        dealt = {name: self.curves[other] for name, other in zip(order, order[::-1], strict=True)}
        return self._path([dealt[name] for name in self.units])

    @cached_property
    def path_by_size(self) -> Floats:
        """As ``path``, with one curve for all modules: only what they save tells them apart."""
        shares = [step / 8 for step in range(1, 8)]
        return self._path([Curve.of(shares, [share**2 for share in shares])] * len(self.units))

    def _path(self, curves: Sequence[Curve]) -> Floats:
        return path(curves, list(self.units.values()), self.cost)


def _ranked(scores: Sequence[NDArray[np.float64]]) -> NDArray[np.int64]:
    owners = np.repeat(np.arange(len(scores)), [len(each) for each in scores])
    return np.asarray(owners[np.argsort(-np.concatenate(scores), kind="stable")])


def _mean_size(scores: NDArray[np.float64]) -> float:
    """Return the absolute mean of the scores that are finite; 1 where that is nothing."""
    left = scores[np.isfinite(scores)]
    return abs(float(left.mean())) or 1.0 if len(left) else 1.0
