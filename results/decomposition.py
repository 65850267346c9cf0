r"""The factorial decomposition of a metric, with the seed as the block.

Write :math:`y_{cs}` for the metric of cell *c* at seed *s*. Each seed's values are decomposed
exactly into main effects and interactions, :math:`y_{\cdot s} = \sum_T e_{Ts}`; effects of
different terms are orthogonal. A term's variance between the cells' *expected* values is estimated
without bias by the mean inner product of its effects at two *different* seeds, in which noise
cancels: :math:`V_T = \frac{1}{S(S-1)} \sum_{s \ne s'} \langle e_{Ts}, e_{Ts'} \rangle / C`. Shares
are :math:`V_T / \sum_T V_T`. Intervals are delete-one-seed jackknife intervals with Student's t and
S - 1 degrees of freedom (Arvesen, 1969; Efron and Stein, 1981): networks of one seed are dependent,
and seeds are what is independent.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from results.design import AnalysisError, Array, Design, make_design, terms
from results.intervals import jackknife_interval

MIN_SEEDS = 2
"""Fewer cannot tell an effect from noise; intervals need one more."""


def decompose(
    trials: pd.DataFrame,
    metric: str,
    factors: Sequence[str] | None = None,
    block: str = "seed",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return the share of every main effect and interaction in the variance between cells.

    Args:
        trials: rows of ``trials``, of one data set.
        metric: a column such as ``finetuned_pgd_20``.
        factors: columns to decompose by; those with more than one level where left out.
        block: the column whose levels are independent repetitions.
        confidence: of the intervals.

    Returns:
        A row a term: ``term`` (``criterion``, ``criterion:finetuning``, ...), ``order`` (0 for
        ``seed`` and ``noise``, which are no part of the whole), ``share`` of the variance between
        cells with ``low`` and ``high``, and ``points``, the effect's root mean square in accuracy
        points. Unbiased shares of absent effects scatter around 0 and may lie below it.

    Raises:
        AnalysisError: with fewer than two seeds or no varying factor.
    """
    design = make_design(trials, metric, factors, block)
    return decompose_design(design, block, confidence)


def decompose_design(design: Design, block: str = "seed", confidence: float = 0.95) -> pd.DataFrame:
    """Return the decomposition of a complete design; see `decompose`."""
    grams = term_grams(design)
    names = list(grams)
    stack = np.stack([grams[name] for name in names])
    components, shares = variances(stack), variance_shares(stack)
    low, high = jackknife_interval(
        lambda keep: variance_shares(stack[:, keep][:, :, keep]),
        len(design.seeds),
        shares,
        confidence,
    )
    frame = pd.DataFrame(
        {
            "term": names,
            "order": [name.count(":") + 1 for name in names],
            "share": shares,
            "low": low,
            "high": high,
            "points": 100 * np.sqrt(np.clip(components, 0, None)),
        }
    )
    # Seed and noise stand outside the whole; their size is given against it.
    whole = components.sum()
    grand = design.values.mean(axis=tuple(range(design.values.ndim - 1)))
    noise = float(np.trace(stack.sum(0)) / len(design.seeds) - whole)
    seed = float(grand.var(ddof=1) - noise / design.cells)
    outside = pd.DataFrame(
        {
            "term": [block, "noise"],
            "order": [0, 0],
            "share": [seed / whole, noise / whole],
            "low": np.nan,
            "high": np.nan,
            "points": [100 * np.sqrt(max(seed, 0)), 100 * np.sqrt(max(noise, 0))],
        }
    )
    return pd.concat([frame, outside], ignore_index=True)


def term_grams(design: Design) -> dict[str, Array]:
    """Return, for every term, the inner products of its effects between seeds, [S, S] by cell."""
    if len(design.seeds) < MIN_SEEDS:
        raise AnalysisError(
            f"{len(design.seeds)} seed cannot tell an effect from noise; "
            f"run at least {MIN_SEEDS + 1}"
        )
    if not design.factors or design.cells < MIN_SEEDS:
        raise AnalysisError("no factor has more than one level: there is nothing to decompose")
    effects: dict[tuple[int, ...], Array] = {}
    axes = tuple(range(len(design.factors)))
    effects[()] = design.values.mean(axis=axes, keepdims=True)
    grams: dict[str, Array] = {}
    for term in terms(design.factors):
        marginal = design.values.mean(axis=tuple(a for a in axes if a not in term), keepdims=True)
        lower = (sub for n in range(len(term)) for sub in itertools.combinations(term, n))
        effects[term] = marginal - sum(effects[sub] for sub in lower)
        if all(len(design.levels[axis]) > 1 for axis in term):
            flat = effects[term].reshape(-1, len(design.seeds))
            grams[":".join(design.factors[axis] for axis in term)] = flat.T @ flat / len(flat)
    return grams


def variances(grams: Array) -> Array:
    """Return each term's unbiased variance between cells, for a stack of grams [terms, S, S]."""
    seeds = grams.shape[-1]
    total = grams.sum((-1, -2)) - np.trace(grams, axis1=-2, axis2=-1)
    return np.asarray(total / (seeds * (seeds - 1)))


def variance_shares(grams: Array) -> Array:
    """Return each term's share of the variance between cells, for a stack [terms, S, S]."""
    components = variances(grams)
    return np.asarray(components / components.sum())
