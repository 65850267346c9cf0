"""Which of two main effects is larger, and whether that hangs on a level, a subset, a flag."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from results.errors import AnalysisError
from results.statistics.decomposition import between_cells, measured_terms, total_gram
from results.statistics.design import Design, make_design
from results.statistics.intervals import t_quantile
from results.statistics.share_intervals import gap_interval, variances

PAIR = ("finetuning", "criterion")
UNDECIDED = "undecided"
MIN_SEEDS = 3
MOST_SEEDS = 1000
"""No number of seeds beyond this is named."""


def compare_main_effects(
    design: Design, confidence: float = 0.95, pair: tuple[str, str] = PAIR
) -> tuple[str, float, float, float]:
    """Return which of two main effects is larger, and the difference of their shares.

    The name of the larger, or undecided; the first's share less the second's, and its interval.

    Raises `AnalysisError` with fewer than three seeds.
    """
    if len(design.seeds) < MIN_SEEDS:
        raise AnalysisError(
            f"with {len(design.seeds)} of at least {MIN_SEEDS} seeds no interval can be given, "
            "so no verdict"
        )
    if absent := [name for name in pair if name not in design.factors]:
        raise AnalysisError(f"{' and '.join(absent)} has one level alone: nothing to compare")
    found = measured_terms(design, pair)
    if absent := [name for name in pair if name not in found]:
        raise AnalysisError(f"{' and '.join(absent)} has one level left: nothing to compare")
    total = total_gram(design)
    first, second = (found[name] for name in pair)
    difference = float(variances(first.gram - second.gram)) / between_cells(total)
    low, high = gap_interval(first, second, total, confidence)
    winner = pair[0] if low > 0 else pair[1] if high < 0 else UNDECIDED
    return winner, difference, low, high


def without_each_level(design: Design, confidence: float = 0.95) -> pd.DataFrame:
    """Compare fine-tuning and criterion with each level of each factor left out in turn.

    A row a level that can be left out: ``factor``, ``level``, ``winner``, ``difference``, ``low``,
    ``high``.
    """
    rows = [
        (factor, str(level), *_compared(design.without(factor, level), confidence))
        for factor, levels in zip(design.factors, design.levels, strict=True)
        if len(levels) >= (3 if factor in PAIR else 2)  # one level alone is no factor
        for level in levels
    ]
    return pd.DataFrame(rows, columns=["factor", "level", "winner", "difference", "low", "high"])


def _compared(design: Design, confidence: float) -> tuple[str, float, float, float]:
    try:
        return compare_main_effects(design, confidence)
    except AnalysisError:  # with holes, the rest may not tell the two effects apart
        return UNDECIDED, np.nan, np.nan, np.nan


def subsets(trials: pd.DataFrame) -> Iterator[tuple[str, object, pd.DataFrame]]:
    """Go through each sparsity, architecture, and so on: factor, level, and its trials."""
    for factor in ("sparsity", "architecture", "dense", "allocation", "granularity"):
        if factor in trials and trials[factor].nunique() > 1:
            for level in sorted(trials[factor].dropna().unique()):
                yield factor, level, trials[trials[factor] == level]


def flagged(trials: pd.DataFrame) -> pd.Series[bool]:
    """Return which trials failed a check against false robustness."""
    if "flags" not in trials:
        return pd.Series(data=False, index=trials.index)
    return trials["flags"].notna()


def winner_without(
    trials: pd.DataFrame, doubtful: pd.Series[bool], metric: str, block: str, confidence: float
) -> str | None:
    """Return the winner without some trials: each counts as one that failed.

    None where none is doubtful, or too few are left for a verdict.
    """
    if not doubtful.any():
        return None
    try:
        sound = trials.assign(**{metric: trials[metric].mask(doubtful)})
        return compare_main_effects(make_design(sound, metric, None, block), confidence)[0]
    except AnalysisError:  # no design is left, or one level of a factor
        return None


def seeds_to_decide(
    found: tuple[str, float, float, float], seeds: int, confidence: float
) -> int | None:
    """Find the number of seeds at which the present difference would clear its interval.

    None where it is decided, or would not be at a thousand seeds.
    """
    winner, difference, low, high = found
    if winner != UNDECIDED or difference == 0:
        return None
    error = (high - low) / 2 / t_quantile(confidence, seeds - 1) * np.sqrt(seeds)
    for more in range(seeds + 1, MOST_SEEDS):
        reach = t_quantile(confidence, more - 1) * error / np.sqrt(more)
        if reach < abs(difference):
            return more
    return None
