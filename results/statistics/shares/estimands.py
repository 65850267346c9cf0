"""What "matters more" can mean: several measures of two factors, each with its interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from results.errors import AnalysisError
from results.statistics.design.design import Array, Design, make_design
from results.statistics.design.intervals import Estimate, mean_estimate
from results.statistics.design.share_parts import Term, variances
from results.statistics.design.units import UNITS, united
from results.statistics.levels.effects import by_level
from results.statistics.levels.tries import best_of
from results.statistics.shares.comparison import PAIR, compare_main_effects, larger
from results.statistics.shares.compute import matched
from results.statistics.shares.decomposition import between_cells, measured_terms, total_gram
from results.statistics.shares.random_effects import as_a_sample
from results.statistics.shares.share_intervals import compared_shares, share_interval

SHARE, POINTS = "share of the variance", "accuracy points"
COLUMNS = ["estimand", "unit", *PAIR, "difference", "low", "high", "winner"]


def estimands(
    trials: pd.DataFrame, metric: str, block: str = "seed", confidence: float = 0.95
) -> pd.DataFrame:
    """Compare fine-tuning and criterion by several measures of how much a factor matters.

    ``main effects``: shares of the variance between cells, as in the verdict. ``Shapley shares``:
    every interaction's share is split evenly between its factors, so that shares sum to one.
    ``main effects at equal compute``: among the fine-tunings that cost the same
    (`results.statistics.shares.compute`); the row is there where two do. ``levels as a sample``:
    how far levels lie apart among all that there could be (standard deviation), which few levels
    say little of. ``left to chance``: accuracy points lost where a factor's level is drawn instead
    of chosen. ``best of 2 tries``: points gained where two levels are drawn and the better kept.
    ``worst choice``: points lost by its worst level against its best. Levels are chosen by the
    other seeds and judged at the one left out.

    Returns:
        A row a measure: ``estimand``, ``unit``, the value of ``finetuning`` and of ``criterion``,
        their ``difference`` with ``low`` and ``high``, ``winner``.

    Raises:
        AnalysisError: where the data carry no comparison.

    Source:
        Owen, 2014 (Shapley shares of variance); Dodge et al., 2019 (arXiv 1909.03004; best of
        tries); Searle, Casella and McCulloch, 1992 (variance components).
    """
    return estimands_of(make_design(trials, metric, None, block), confidence, matched(trials))


def estimands_of(
    design: Design, confidence: float = 0.95, alike: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the measures of a design; see `estimands`.

    Args:
        design: the metric over cells and seeds.
        confidence: of the intervals.
        alike: fine-tunings of equal compute.
    """
    if len(design.seeds) < 3 or not set(PAIR) <= set(design.factors):
        raise AnalysisError("a comparison needs both factors and three seeds")
    terms, total = measured_terms(design), total_gram(design)
    whole = between_cells(total)
    rows: list[tuple[str, str, float, float, Estimate]] = []
    for name, parts in (("main effects", _main(terms)), ("Shapley shares", _shapley(terms))):
        values = [float(variances(part.gram)) / whole for part in parts[:2]]
        gap, *_ = compared_shares(parts[2:], total, None, confidence, design.degrees)
        rows.append((name, SHARE, values[0], values[1], gap))
    rows += _at_equal_compute(design, alike, confidence)
    if design.complete:
        rows.append(("levels as a sample", POINTS, *as_a_sample(terms, design, PAIR, confidence)))
    for name, lost in MEASURES.items():
        both = [lost(by_level(design, factor)) for factor in PAIR]
        gap = mean_estimate(both[0] - both[1], confidence, design.degrees)
        rows.append((name, POINTS, float(both[0].mean()), float(both[1].mean()), gap))
    found = [(*row[:4], *row[4], larger(row[4], design)) for row in rows]
    as_said = "as the column unit says"
    table = pd.DataFrame(found, columns=COLUMNS)
    return united(table, as_said, difference=as_said, **dict.fromkeys(PAIR, as_said))


def shapley_shares(
    trials: pd.DataFrame, metric: str, block: str = "seed", confidence: float = 0.95
) -> pd.DataFrame:
    """Return every factor's Shapley share: its main effect's and a part of its interactions'.

    A row a factor: ``factor``, ``share`` with ``low`` and ``high``.
    """
    design = make_design(trials, metric, None, block)
    terms, total = measured_terms(design), total_gram(design)
    whole = between_cells(total)
    parts = [_split(terms, factor) for factor in design.factors]
    low, high = share_interval(parts, total, confidence, design.degrees)
    shares = [float(variances(part.gram)) / whole for part in parts]
    table = pd.DataFrame({"factor": design.factors, "share": shares, "low": low, "high": high})
    return united(table, UNITS["share"])


def _at_equal_compute(
    design: Design, alike: Sequence[str], confidence: float
) -> list[tuple[str, str, float, float, Estimate]]:
    """Return the comparison among fine-tunings that cost the same, where there is one."""
    axis = design.factors.index(PAIR[0])
    keep = [i for i, level in enumerate(design.levels[axis]) if str(level) in alike]
    if len(keep) < 2:
        return []
    try:
        found = compare_main_effects(design.keeping(axis, keep), confidence)
    except AnalysisError:
        return []
    values = [found.shares[name].value for name in PAIR]
    return [("main effects at equal compute", SHARE, values[0], values[1], found.difference)]


def _main(terms: dict[str, Term]) -> list[Term]:
    return [*(terms[name] for name in PAIR), *(terms[name] for name in PAIR)]


def _shapley(terms: dict[str, Term]) -> list[Term]:
    """Return both factors' parts; then those without what they share, which makes no difference."""
    apart = [_split(terms, name, other) for name, other in (PAIR, PAIR[::-1])]
    return [*(_split(terms, name) for name in PAIR), *apart]


def _split(terms: dict[str, Term], factor: str, without: str = "") -> Term:
    mine = {
        name: term
        for name, term in terms.items()
        if factor in name.split(":") and without not in name.split(":")
    }
    gram = np.sum([term.gram / (name.count(":") + 1) for name, term in mine.items()], axis=0)
    return Term(gram, sum(term.degrees for term in mine.values()))


def _to_chance(levels: Array) -> Array:
    """Return at each seed how far the best level lies over the mean, of effects [levels, S]."""
    return np.array([levels[_others(levels, s).argmax(), s] for s in range(levels.shape[1])])


def _to_worst(levels: Array) -> Array:
    return np.array([
        levels[_others(levels, s).argmax(), s] - levels[_others(levels, s).argmin(), s]
        for s in range(levels.shape[1])
    ])  # fmt: skip


def _others(levels: Array, seed: int) -> Array:
    return np.asarray(np.delete(levels, seed, axis=1).mean(axis=1))


MEASURES: dict[str, Callable[[Array], Array]] = {
    "left to chance": _to_chance,
    "best of 2 tries": lambda levels: best_of(levels, 2),
    "worst choice": _to_worst,
}
"""Points at each seed, of the effects of a factor's levels, [levels, S]."""
