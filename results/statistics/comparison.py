"""Which of two main effects is larger, and whether that hangs on a level, a subset, a flag."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from results.errors import AnalysisError
from results.statistics.decomposition import between_cells, measured_terms, total_gram
from results.statistics.design import Design, make_design
from results.statistics.images import Pictures, image_scatter
from results.statistics.intervals import NO_ESTIMATE, Estimate, t_quantile
from results.statistics.share_intervals import compared_shares

PAIR = ("finetuning", "criterion")
UNDECIDED = "undecided"
MIN_SEEDS = 3
MOST_SEEDS = 1000
"""No number of seeds beyond this is named."""


@dataclass(frozen=True)
class Comparison:
    """Which of two main effects is larger, and the share of the first less that of the second."""

    winner: str
    """The name of the larger, or undecided."""
    difference: Estimate
    shares: dict[str, Estimate]
    """Of the two main effects; empty where they could not be compared."""


def compare_main_effects(
    design: Design,
    confidence: float = 0.95,
    pair: tuple[str, str] = PAIR,
    pictures: Pictures | None = None,
) -> Comparison:
    """Compare the shares of two main effects.

    Args:
        design: the metric over cells and seeds.
        confidence: of the intervals.
        pair: the two.
        pictures: the outcomes by image, where images are to be a random factor beside the seeds.

    Raises:
        AnalysisError: with fewer than three seeds, or where one of the two has one level alone.
    """
    if len(design.seeds) < MIN_SEEDS:
        raise AnalysisError(
            f"with {len(design.seeds)} of at least {MIN_SEEDS} seeds no interval can be given, "
            "so no verdict"
        )
    if absent := [name for name in pair if name not in design.factors]:
        raise AnalysisError(f"{' and '.join(absent)} has one level alone: nothing to compare")
    terms = measured_terms(design, pair)
    if absent := [name for name in pair if name not in terms]:
        raise AnalysisError(f"{' and '.join(absent)} has one level left: nothing to compare")
    total = total_gram(design)
    both = [terms[name] for name in pair]
    images = image_scatter(design, pictures, pair) if pictures is not None else None
    between_cells(total, float(images.noise.sum()) if images else 0.0)
    gap, *shares = compared_shares(both, total, images, confidence, design.degrees)
    winner = pair[0] if gap.low > 0 else pair[1] if gap.high < 0 else UNDECIDED
    return Comparison(winner, gap, dict(zip(pair, shares, strict=True)))


def without_each_level(design: Design, confidence: float = 0.95) -> pd.DataFrame:
    """Compare fine-tuning and criterion with each level of each factor left out in turn.

    A row a level that can be left out: ``factor``, ``level``, ``winner``, ``difference``, ``low``,
    ``high``.
    """
    rows = [
        (factor, str(level), comparison.winner, *comparison.difference)
        for factor, levels in zip(design.factors, design.levels, strict=True)
        if len(levels) >= (3 if factor in PAIR else 2)  # one level alone is no factor
        for level in levels
        for comparison in [_comparison(design.without(factor, level), confidence)]
    ]
    return pd.DataFrame(rows, columns=["factor", "level", "winner", "difference", "low", "high"])


def _comparison(design: Design, confidence: float) -> Comparison:
    try:
        return compare_main_effects(design, confidence)
    except AnalysisError:  # with holes, the rest may not tell the two effects apart
        return Comparison(UNDECIDED, NO_ESTIMATE, {})


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
        return compare_main_effects(make_design(sound, metric, None, block), confidence).winner
    except AnalysisError:  # no design is left, or one level of a factor
        return None


def seeds_to_decide(comparison: Comparison, seeds: int, confidence: float) -> int | None:
    """Find the number of seeds at which the present difference would clear its interval.

    None where it is decided, or would not be at a thousand seeds.
    """
    difference, low, high = comparison.difference
    if comparison.winner != UNDECIDED or difference == 0:
        return None
    error = (high - low) / 2 / t_quantile(confidence, seeds - 1) * math.sqrt(seeds)
    for more in range(seeds + 1, MOST_SEEDS):
        reach = t_quantile(confidence, more - 1) * error / math.sqrt(more)
        if reach < abs(difference):
            return more
    return None
