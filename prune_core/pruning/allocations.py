"""Allocations by name: how a budget is divided among the modules of a network.

An allocation is a pure function ``(evidence, dial) -> shares``, which gives the share of units that
each module keeps. No share may fall when the dial rises from 0 to 1, and at 1 all are 1.
`prune_core.pruning.solver` turns the dial until the exact cost meets the budget.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from prune_core.specs.registry import method

Shares = dict[str, float]


@dataclass(frozen=True)
class Evidence:
    """What an allocation may read, by module.

    Attributes:
        units: The number of units.
        shapes: The shape of the root layer's weight: outputs, inputs, kernel.
        scores: A criterion's score of every unit; -inf for what may not be kept.
        sensitivities: The sensitivity that the allocation needs.
        ratios: The shares to keep that the user gives.
        prices: What the module costs in the whole network, in the unit of the budget.
        exponent: Shares are proportional to sensitivities to this power.
        seed: The seed of all random numbers.
    """

    units: Mapping[str, int]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    scores: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    sensitivities: Mapping[str, float] = field(default_factory=dict)
    ratios: Mapping[str, float] = field(default_factory=dict)
    prices: Mapping[str, float] = field(default_factory=dict)
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


def _ranked(scores: Sequence[NDArray[np.float64]]) -> NDArray[np.int64]:
    owners = np.repeat(np.arange(len(scores)), [len(each) for each in scores])
    return np.asarray(owners[np.argsort(-np.concatenate(scores), kind="stable")])


def _mean_size(scores: NDArray[np.float64]) -> float:
    """Return the absolute mean of the scores that are finite; 1 where that is nothing."""
    left = scores[np.isfinite(scores)]
    return abs(float(left.mean())) or 1.0 if len(left) else 1.0


@method("uniform", source="the control of every allocation")
def uniform(evidence: Evidence, dial: float) -> Shares:
    """Every module keeps the same share of its units."""
    return dict.fromkeys(evidence.units, dial)


@method("global", source="Han et al., 2015 (arXiv 1506.02626)", needs=("scores",), revision=2)
def global_(evidence: Evidence, dial: float) -> Shares:
    """The units with the highest scores are kept, whatever their module: of l1, magnitudes."""
    return _first(evidence.ranked, evidence, dial)


@method(
    "global-normalised",
    source="Fang et al., 2023 (arXiv 2301.12900); Torch-Pruning's normalizer 'mean'",
    needs=("scores",),
)
def global_normalised(evidence: Evidence, dial: float) -> Shares:
    """As global, by scores divided by the mean of their module."""
    return _first(evidence.ranked_by_mean, evidence, dial)


@method("lamp", source="Lee et al., 2021 (arXiv 2010.07611)", needs=("scores:lamp",))
def lamp(evidence: Evidence, dial: float) -> Shares:
    """As global, but by LAMP scores; the criterion chooses only within modules."""
    return global_(evidence, dial)


@method("erk", source="Evci et al., 2020 (RigL, arXiv 1911.11134), Erdős-Rényi kernel")
def erk(evidence: Evidence, dial: float) -> Shares:
    """Kept shares are proportional to the sum of the layer's dimensions over their product."""
    densities = {name: sum(shape) / math.prod(shape) for name, shape in evidence.shapes.items()}
    return _proportional(densities, dial)


@method("fixed", source="ratios of the user's: pruning.ratios", needs=("ratios",))
def fixed(evidence: Evidence, dial: float) -> Shares:
    """Kept shares are proportional to those given, and equal to them if these meet the budget."""
    missing = sorted(set(evidence.units) - set(evidence.ratios))
    if missing:
        raise ValueError(
            f"allocation 'fixed': pruning.ratios must give a share for every module; "
            f"missing: {', '.join(missing)}; given: {', '.join(evidence.ratios)}"
        )
    return _proportional({name: evidence.ratios[name] for name in evidence.units}, dial)


@method(
    "mrs",
    source="ours, after arXiv 2410.15176; sensitivities as RiFT's (arXiv 2308.02533)",
    needs=("sensitivity:mrs",),
)
def mrs(evidence: Evidence, dial: float) -> Shares:
    """Modules whose weights matter more to the adversarial loss keep more (exact MRS)."""
    return _by_sensitivity(evidence, evidence.sensitivities, dial)


@method(
    "mrs-few-step",
    source="ours, after arXiv 2410.15176; sensitivities as RiFT's (arXiv 2308.02533)",
    needs=("sensitivity:mrs-few-step",),
)
def mrs_few_step(evidence: Evidence, dial: float) -> Shares:
    """As mrs, with the cheap estimate by a few ascent steps."""
    return _by_sensitivity(evidence, evidence.sensitivities, dial)


@method(
    "mrs-first-order",
    source="ours, after arXiv 2410.15176; sensitivities to first order",
    needs=("sensitivity:mrs-first-order",),
)
def mrs_first_order(evidence: Evidence, dial: float) -> Shares:
    """As mrs, with the estimate from one gradient, which is cheap and often ranks wrongly."""
    return _by_sensitivity(evidence, evidence.sensitivities, dial)


@method(
    "mrs-per-cost",
    source="ours: the least sum of MRS x removed² for the budget",
    needs=("sensitivity:mrs",),
)
def mrs_per_cost(evidence: Evidence, dial: float) -> Shares:
    """The removed share of a module is proportional to its cost over its MRS.

    If removing a share p of a module hurts by MRS x p², each unit of the budget should hurt alike:
    then p is proportional to cost / MRS. Unlike mrs it spares small modules, sensitive or not.
    """
    sensitivities = _propensity(evidence.sensitivities, 1.0)
    losses = {name: evidence.prices[name] / value for name, value in sensitivities.items()}
    lowest = min(losses.values())
    return {name: max(0.0, 1 - (1 - dial) * loss / lowest) for name, loss in losses.items()}


@method("mrs-shuffled", source="a control of mrs", needs=("sensitivity:mrs",))
def mrs_shuffled(evidence: Evidence, dial: float) -> Shares:
    """As mrs, with the sensitivities assigned to modules at random."""
    values = list(evidence.sensitivities.values())
    random.Random(evidence.seed).shuffle(values)  # noqa: S311 - a control, not a secret
    return _by_sensitivity(evidence, dict(zip(evidence.sensitivities, values, strict=True)), dial)


@method("mrs-inverse", source="a control of mrs", needs=("sensitivity:mrs",))
def mrs_inverse(evidence: Evidence, dial: float) -> Shares:
    """The opposite of mrs: modules that matter more to the adversarial loss keep less."""
    propensity = _propensity(evidence.sensitivities, evidence.exponent)
    return _proportional({name: 1 / value for name, value in propensity.items()}, dial)


@method("scan", source="Li et al., 2017 (arXiv 1608.08710)", needs=("sensitivity:scan",))
def scan(evidence: Evidence, dial: float) -> Shares:
    """Modules keep more if more accuracy is lost when their smallest units are set to zero."""
    return _by_sensitivity(evidence, evidence.sensitivities, dial)


def _first(ranked: NDArray[np.int64], evidence: Evidence, dial: float) -> Shares:
    """Return the shares of the modules among the first units of a ranking."""
    kept = np.bincount(ranked[: round(dial * len(ranked))], minlength=len(evidence.scores))
    return {
        name: float(count) / len(scores)
        for (name, scores), count in zip(evidence.scores.items(), kept, strict=True)
    }


def _by_sensitivity(evidence: Evidence, sensitivities: Mapping[str, float], dial: float) -> Shares:
    return _proportional(_propensity(sensitivities, evidence.exponent), dial)


TINY = 1e-100
"""Sensitivities that are all smaller are taken relative to the largest: their powers may vanish."""


def _propensity(sensitivities: Mapping[str, float], exponent: float) -> dict[str, float]:
    finite = [value for value in sensitivities.values() if math.isfinite(value)]
    top = max(finite, default=1.0)
    if top <= 0:  # no module matters: nothing tells them apart
        return dict.fromkeys(sensitivities, 1.0)
    unit = top if top < TINY else 1.0
    top /= unit
    # An unbounded rise outranks every finite one; a module that gains nothing is not starved.
    bounded = {
        name: 10 * top if not math.isfinite(value) else max(value / unit, 1e-3 * top)
        for name, value in sensitivities.items()
    }
    return {name: value**exponent for name, value in bounded.items()}


def _proportional(values: Mapping[str, float], dial: float) -> Shares:
    """Return shares proportional to ``values``, at most 1; all are 1 if the dial is 1."""
    lowest = min(values.values())
    return {name: min(1.0, dial * value / lowest) for name, value in values.items()}
