"""Allocations by name: how a budget is divided among the modules of a network.

An allocation is a pure function ``(evidence, dial) -> shares``, which gives the share of units that
each module keeps. No share may fall when the dial rises from 0 to 1, and at 1 all are 1.
`prune_core.pruning.ratios.solver` turns the dial until the exact cost meets the budget.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from prune_core.pruning.ratios.curves import Floats, along
from prune_core.pruning.ratios.evidence import Evidence
from prune_core.specs.registry import method

Shares = dict[str, float]


@method("uniform", source="the control of every allocation")
def uniform(evidence: Evidence, dial: float) -> Shares:
    """Every module keeps the same share of its units."""
    return dict.fromkeys(evidence.units, dial)


@method("uniform-plus", source="Gale et al., 2019 (arXiv 1902.09574)", needs=("outputs",))
def uniform_plus(evidence: Evidence, dial: float) -> Shares:
    """As uniform, but the first module stays whole, and what makes the logits keeps a fifth."""
    first = next(iter(evidence.units))
    least = {name: 0.2 if name in evidence.outputs else 0.0 for name in evidence.units}
    return {name: 1.0 if name == first else max(dial, least[name]) for name in evidence.units}


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


@method(
    "harp",
    source="Zhao and Wressnegger, 2023 (HARP, arXiv 2212.14618)",
    needs=("scores:harp",),
)
def harp(evidence: Evidence, dial: float) -> Shares:
    """The shares that criterion harp learned; the budget is met along the order of its scores."""
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


@method("mrs-curve", source="ours, after arXiv 2410.15176", needs=("sensitivity:damage",))
def mrs_curve(evidence: Evidence, dial: float) -> Shares:
    """The least sum of the rises of the adversarial loss, as measured by removal, for the budget.

    See `prune_core.pruning.ratios.curves.path`.
    """
    return _on(evidence.path, evidence, dial)


@method(
    "mrs", source="ours, after arXiv 2410.15176: mrs-curve", needs=("sensitivity:damage",),
    revision=2,
)  # fmt: skip
def mrs(evidence: Evidence, dial: float) -> Shares:
    """The form of MRS that docs/mrs.md chooses: mrs-curve."""
    return mrs_curve(evidence, dial)


@method("mrs-shuffled", source="a control of mrs-curve", needs=("sensitivity:damage",), revision=2)
def mrs_shuffled(evidence: Evidence, dial: float) -> Shares:
    """As mrs-curve, with the curves dealt out to the modules at random."""
    return _on(evidence.path_shuffled, evidence, dial)


@method("mrs-inverse", source="a control of mrs-curve", needs=("sensitivity:damage",), revision=2)
def mrs_inverse(evidence: Evidence, dial: float) -> Shares:
    """As mrs-curve, with the curve of the most sensitive module for the least, and so on."""
    return _on(evidence.path_reversed, evidence, dial)


@method("size", source="a control of mrs-curve")
def size(evidence: Evidence, dial: float) -> Shares:
    """As mrs-curve, if all modules suffered alike: by what they save alone, without any MRS."""
    return _on(evidence.path_by_size, evidence, dial)


@method("mrs-minmax", source="ours, after arXiv 2410.15176", needs=("sensitivity:damage",))
def mrs_minmax(evidence: Evidence, dial: float) -> Shares:
    """The removed share falls linearly with the damage at half: the most sensitive stay whole."""
    damage = _scaled(evidence.sensitivities)
    rate = (1 - dial) / dial if dial else math.inf
    return {name: max(0.0, 1 - rate * (1 - value)) if value < 1 else 1.0
            for name, value in damage.items()}  # fmt: skip


@method("mrs-bounded", source="ours, after arXiv 2410.15176", needs=("sensitivity:damage",))
def mrs_bounded(evidence: Evidence, dial: float) -> Shares:
    """Kept shares are from half of the uniform share to one and a half, linearly in the damage."""
    damage = _scaled(evidence.sensitivities)
    return _proportional({name: 0.5 + value for name, value in damage.items()}, dial)


@method(
    "mrs-perturbation",
    source="ours, derived from RiFT (arXiv 2308.02533)",
    needs=("sensitivity:perturbation",),
)
def mrs_perturbation(evidence: Evidence, dial: float) -> Shares:
    """Modules keep more if a perturbation of their weights raises the adversarial loss more.

    It follows the size of a module and not the damage of removing it: see docs/mrs.md.
    """
    return _by_sensitivity(evidence, evidence.sensitivities, dial)


@method(
    "mrs-perturbation-few-step",
    source="ours, derived from RiFT (arXiv 2308.02533)",
    needs=("sensitivity:perturbation-few-step",),
)
def mrs_perturbation_few_step(evidence: Evidence, dial: float) -> Shares:
    """As mrs-perturbation, with the cheap estimate by a few ascent steps."""
    return _by_sensitivity(evidence, evidence.sensitivities, dial)


@method(
    "mrs-perturbation-first-order",
    source="ours, derived from RiFT (arXiv 2308.02533)",
    needs=("sensitivity:perturbation-first-order",),
)
def mrs_perturbation_first_order(evidence: Evidence, dial: float) -> Shares:
    """As mrs-perturbation, with the estimate from one gradient, which often ranks wrongly."""
    return _by_sensitivity(evidence, evidence.sensitivities, dial)


@method(
    "mrs-perturbation-per-cost",
    source="ours: the least sum of perturbation MRS x removed² for the budget",
    needs=("sensitivity:perturbation",),
)
def mrs_perturbation_per_cost(evidence: Evidence, dial: float) -> Shares:
    """The removed share of a module is proportional to its cost over its perturbation MRS.

    If removing a share p of a module hurts by MRS x p², each unit of the budget should hurt alike:
    then p is proportional to cost / MRS.
    """
    sensitivities = _propensity(evidence.sensitivities, 1.0)
    losses = {name: evidence.prices[name] / value for name, value in sensitivities.items()}
    lowest = min(losses.values())
    return {name: max(0.0, 1 - (1 - dial) * loss / lowest) for name, loss in losses.items()}


@method(
    "mrs-perturbation-inverse",
    source="a control of mrs-perturbation",
    needs=("sensitivity:perturbation",),
)
def mrs_perturbation_inverse(evidence: Evidence, dial: float) -> Shares:
    """The opposite of mrs-perturbation: modules whose weights matter more keep less."""
    propensity = _propensity(evidence.sensitivities, evidence.exponent)
    return _proportional({name: 1 / value for name, value in propensity.items()}, dial)


@method(
    "scan",
    source="Li et al., 2017 (arXiv 1608.08710), fig. 2b",
    needs=("sensitivity:scan",),
    revision=2,
)
def scan(evidence: Evidence, dial: float) -> Shares:
    """Modules keep more if more accuracy is lost when their units of smallest l1 norm go."""
    return _by_sensitivity(evidence, evidence.sensitivities, dial)


def _first(ranked: NDArray[np.int64], evidence: Evidence, dial: float) -> Shares:
    """Return the shares of the modules among the first units of a ranking."""
    kept = np.bincount(ranked[: round(dial * len(ranked))], minlength=len(evidence.scores))
    return {
        name: float(count) / len(scores)
        for (name, scores), count in zip(evidence.scores.items(), kept, strict=True)
    }


def _on(path: Floats, evidence: Evidence, dial: float) -> Shares:
    return dict(zip(evidence.units, along(path, dial).tolist(), strict=True))


def _scaled(sensitivities: Mapping[str, float]) -> dict[str, float]:
    """Return sensitivities from 0, for the least, to 1, for the largest and infinite ones."""
    finite = [value for value in sensitivities.values() if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    width = (high - low) or 1.0
    return {name: min(1.0, (value - low) / width) for name, value in sensitivities.items()}


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
