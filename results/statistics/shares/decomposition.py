r"""The factorial decomposition of a metric, with the seed as the block.

Write :math:`y_{cs}` for the metric of cell *c* at seed *s*. Each seed's values are decomposed
exactly into main effects and interactions, :math:`y_{\cdot s} = \sum_T e_{Ts}`; effects of
different terms are orthogonal. A term's variance between the cells' *expected* values is estimated
without bias by the mean inner product of its effects at two *different* seeds, in which noise
cancels: :math:`V_T = \frac{1}{S(S-1)} \sum_{s \ne s'} \langle e_{Ts}, e_{Ts'} \rangle / C`. Shares
are :math:`V_T / V`, of the variance of all cells, estimated alike; of several data sets, that
between networks of the same one. Where cells are missing, effects are those of least squares; see
`results.statistics.design.least_squares`. Intervals: see
`results.statistics.shares.share_intervals`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from results.errors import AnalysisError
from results.statistics.design import least_squares
from results.statistics.design.design import STRATUM, Array, Design, make_design, strata, terms
from results.statistics.design.intervals import Estimate
from results.statistics.design.share_parts import Term, variances
from results.statistics.design.units import UNITS, united
from results.statistics.design.yates import effects_of
from results.statistics.shares.share_intervals import share_interval

MIN_SEEDS = 2
"""Fewer cannot tell an effect from noise; intervals need one more."""
REST = "shared"
"""The row of what least squares can give to no one term; none in a complete design."""


def decompose(
    trials: pd.DataFrame,
    metric: str,
    factors: Sequence[str] | None = None,
    block: str = "seed",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return the share of every main effect and interaction in the variance between cells.

    Args:
        trials: rows of ``trials``.
        metric: a column such as ``finetuned_pgd_20``, or ``gain_pgd_20``: fine-tuned less pruned.
        factors: columns to decompose by; those with more than one level where left out.
        block: the column whose levels are independent repetitions.
        confidence: of the intervals.

    Returns:
        A row a term: ``term`` (``criterion``, ``criterion:finetuning``, ...), ``order`` (0 for
        ``seed`` and ``noise``, which are no part of the whole), ``share`` of the variance between
        cells with ``low`` and ``high``, and ``points``, the effect's root mean square in accuracy
        points. Unbiased shares of absent effects scatter around 0 and may lie below it. Where cells
        are missing, terms go up to three factors and a row ``shared`` has what is left; it has no
        interval.

    Raises:
        AnalysisError: with fewer than two seeds or no varying factor.
    """
    design = make_design(trials, metric, factors, block)
    return decompose_design(design, block, confidence)


def decompose_design(design: Design, block: str = "seed", confidence: float = 0.95) -> pd.DataFrame:
    """Return the decomposition of a design; see `decompose`."""
    measured = measured_terms(design)
    total = total_gram(design)
    whole = between_cells(total)
    components = variances(np.stack([term.gram for term in measured.values()]))
    low, high = share_interval(list(measured.values()), total, confidence, design.degrees)
    frame = pd.DataFrame(
        {
            "term": list(measured),
            "order": [name.count(":") + 1 for name in measured],
            "share": components / whole,
            "low": low,
            "high": high,
            "points": 100 * np.sqrt(np.clip(components, 0, None)),
        }
    )
    # Seed and noise stand outside the whole; their size is given against it.
    grand = np.nanmean(design.values, axis=tuple(range(design.values.ndim - 1)))
    noise = float(np.trace(total) / len(design.seeds) - whole)
    seed = float(grand.var(ddof=1) - noise / design.cells)
    others = {block: seed, "noise": noise}
    if not design.complete:
        others = {REST: float(whole - components.sum()), **others}
    outside = pd.DataFrame(
        {
            "term": list(others),
            "order": 0,
            "share": [value / whole for value in others.values()],
            "low": np.nan,
            "high": np.nan,
            "points": [100 * np.sqrt(max(value, 0)) for value in others.values()],
        }
    )
    return united(pd.concat([frame, outside], ignore_index=True), UNITS["share"])


def shares_of(table: pd.DataFrame) -> dict[str, Estimate]:
    """Return the share of every term of a decomposition, by its name."""
    rows = table[["term", "share", "low", "high"]].itertuples(index=False)
    return {str(term): Estimate(*share) for term, *share in rows}


def interaction_share(shares: Mapping[str, Estimate], factors: Sequence[str]) -> float:
    """Return the share of some factors' interaction; none where it could not be estimated."""
    return sum(
        (share.value for term, share in shares.items() if set(term.split(":")) == set(factors)), 0.0
    )


def total_gram(design: Design) -> Array:
    """Return the inner products of all cells' deviations between seeds, [S, S] by cell.

    Deviations are from the mean of the cells of the same data set.
    """
    _check(design)
    flat = design.values[design.there]
    for alike in strata(design):
        flat[alike] -= flat[alike].mean(axis=0)
    return np.asarray(flat.T @ flat / len(flat))


def measured_terms(design: Design, only: Sequence[str] | None = None) -> dict[str, Term]:
    """Return what the decomposition keeps of every term, by its name; none is of data sets alone.

    Args:
        design: complete or not; with holes, effects are those of least squares.
        only: names of main effects; all terms where left out.
    """
    _check(design)
    if not design.complete:
        measured = least_squares.measured_terms(design, only)
        return {name: term for name, term in measured.items() if name != STRATUM}
    measured = {}
    for term, effect in effects(design, only).items():
        if _term_name(design, term) == STRATUM:
            continue
        flat = effect.reshape(-1, len(design.seeds))
        degrees = math.prod(len(design.levels[axis]) - 1 for axis in term)
        measured[_term_name(design, term)] = Term(flat.T @ flat / len(flat), degrees)
    return measured


def effects(design: Design, only: Sequence[str] | None = None) -> dict[tuple[int, ...], Array]:
    """Return the exact effects of a complete design by term, axes not in it of length 1."""
    wanted = [term for term in terms(design.factors) if _varies(design, term)]
    if only is not None:
        wanted = [term for term in wanted if _term_name(design, term) in only]
    return effects_of(design.values, wanted)


def sums_of_squares(design: Design) -> dict[str, float]:
    """Return each term's sum of squares in the analysis of variance of a complete design."""
    size = design.cells / len(design.seeds)
    measured = measured_terms(design)
    return {name: float(term.gram.sum() * size) for name, term in measured.items()}


def between_cells(total: Array, by_image: float = 0.0) -> float:
    """Return the unbiased variance between all cells, of which shares are.

    Args:
        total: inner products of the cells' deviations between seeds.
        by_image: what the choice of test images adds to it.

    Raises:
        AnalysisError: where there is none: shares of noise mean nothing.
    """
    whole = float(variances(total)) - by_image
    if whole <= 0:
        raise AnalysisError("the cells do not differ by more than noise: there is nothing to share")
    return whole


def _check(design: Design) -> None:
    if len(design.seeds) < MIN_SEEDS:
        raise AnalysisError(
            f"{len(design.seeds)} seed cannot tell an effect from noise; "
            f"run at least {MIN_SEEDS + 1}"
        )
    if not design.factors or design.cells < MIN_SEEDS:
        raise AnalysisError("no factor has more than one level: there is nothing to decompose")


def _varies(design: Design, term: tuple[int, ...]) -> bool:
    return all(len(design.levels[axis]) > 1 for axis in term)


def _term_name(design: Design, term: tuple[int, ...]) -> str:
    return ":".join(design.factors[axis] for axis in term)
