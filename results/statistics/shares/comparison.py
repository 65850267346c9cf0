"""Which of two main effects is larger, and whether that hangs on a level, a subset, a flag."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from results.errors import AnalysisError
from results.statistics.design.design import Design, make_design, too_few
from results.statistics.design.intervals import NO_ESTIMATE, Estimate
from results.statistics.design.words import listed, shortly, term_name
from results.statistics.shares.decomposition import between_cells, measured_terms, total_gram
from results.statistics.shares.images import Pictures, image_scatter
from results.statistics.shares.share_intervals import compared_shares

PAIR = ("finetuning", "criterion")
SUBSETS = ("dataset", "sparsity", "architecture", "dense", "allocation", "granularity")
UNDECIDED = "undecided"
MIN_SEEDS = 3


@dataclass(frozen=True)
class Comparison:
    """Which of two main effects is larger, and the share of the first less that of the second."""

    winner: str
    """The name of the larger, or undecided."""
    difference: Estimate
    shares: dict[str, Estimate]
    """Of the two main effects; empty where they could not be compared."""


NO_COMPARISON = Comparison(UNDECIDED, NO_ESTIMATE, {})


def compare_main_effects(
    design: Design,
    confidence: float = 0.95,
    pair: tuple[str, str] = PAIR,
    pictures: Pictures | None = None,
) -> Comparison:
    """Compare the shares of two main effects; undecided with too few trials a cell.

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
            f"it takes at least {MIN_SEEDS} seeds, and there "
            f"{'is' if len(design.seeds) == 1 else 'are'} {len(design.seeds)}"
        )
    if absent := [name for name in pair if name not in design.factors]:
        named, has = listed([term_name(name) for name in absent]), "have" if absent[1:] else "has"
        raise AnalysisError(f"{named} {has} one level alone: nothing to compare")
    terms = measured_terms(design, pair)
    if absent := [name for name in pair if name not in terms]:
        raise AnalysisError(f"{' and '.join(absent)} has one level left: nothing to compare")
    total = total_gram(design)
    both = [terms[name] for name in pair]
    images = image_scatter(design, pictures, pair) if pictures is not None else None
    between_cells(total, float(images.noise.sum()) if images else 0.0)
    gap, *shares = compared_shares(both, total, images, confidence, design.degrees)
    return Comparison(larger(gap, design, pair), gap, dict(zip(pair, shares, strict=True)))


def larger(gap: Estimate, design: Design, pair: tuple[str, str] = PAIR) -> str:
    """Return which of two the interval of the first less the second says is larger, if any."""
    if too_few(design) or gap.low <= 0 <= gap.high or not gap.low <= gap.high:
        return UNDECIDED
    return pair[0] if gap.low > 0 else pair[1]


def carried(
    design: Design, pictures: Pictures | None = None, confidence: float = 0.95
) -> Comparison:
    """Compare fine-tuning and criterion; undecided where the data cannot carry it."""
    try:
        return compare_main_effects(design, confidence, pictures=pictures)
    except AnalysisError:  # with holes, the rest may not tell the two effects apart
        return NO_COMPARISON


def without_each_level(
    design: Design,
    confidence: float = 0.95,
    pictures: Pictures | None = None,
    alike: Mapping[str, Sequence[tuple[str, ...]]] | None = None,
) -> pd.DataFrame:
    """Compare fine-tuning and criterion with each level of each factor left out in turn.

    Args:
        design: the metric over cells and seeds.
        confidence: of the intervals.
        pictures: the outcomes by image, where images are a random factor.
        alike: by factor, levels that are hardly two: all of a group are left out together.

    Returns:
        A row a level, or a group of them, that can be left out: ``factor``, ``level``, ``winner``,
        ``difference``, ``low``, ``high``.
    """
    rows = []
    for axis, factor in enumerate(design.factors):
        levels = design.levels[axis]
        groups = [set(group) for group in (alike or {}).get(factor, ())]
        grouped = set().union(*groups)
        single = [{str(level)} for level in levels if str(level) not in grouped]
        for gone in [*single, *groups]:
            keep = [i for i, level in enumerate(levels) if str(level) not in gone]
            if len(keep) < (2 if factor in PAIR else 1):  # one level alone is no factor
                continue
            named = shortly([str(level) for level in levels if str(level) in gone])
            found = carried(*kept(design, pictures, axis, keep), confidence=confidence)
            rows.append((factor, named, found.winner, *found.difference))
    return pd.DataFrame(rows, columns=["factor", "level", "winner", "difference", "low", "high"])


def within_each_level(
    design: Design, confidence: float = 0.95, pictures: Pictures | None = None
) -> pd.DataFrame:
    """Compare fine-tuning and criterion within each sparsity, architecture, and so on.

    A row a subset: ``factor``, ``level``, ``winner``, ``difference``, ``low``, ``high``.
    """
    rows = []
    for axis, factor in enumerate(design.factors):
        if factor not in SUBSETS or len(design.levels[axis]) < 2:
            continue
        for i, level in enumerate(design.levels[axis]):
            found = carried(*kept(design, pictures, axis, [i]), confidence=confidence)
            rows.append((factor, str(level), found.winner, *found.difference))
    return pd.DataFrame(rows, columns=["factor", "level", "winner", "difference", "low", "high"])


def kept(
    design: Design, pictures: Pictures | None, axis: int, keep: list[int]
) -> tuple[Design, Pictures | None]:
    """Return the design, and its outcomes by image, with some levels of a factor alone."""
    return design.keeping(axis, keep), pictures.keeping(axis, keep) if pictures else None


def subsets(trials: pd.DataFrame) -> Iterator[tuple[str, object, pd.DataFrame]]:
    """Go through each sparsity, architecture, and so on: factor, level, and its trials."""
    for factor in SUBSETS:
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
    """Return the winner without some trials: each counts as one that is missing.

    None where none is doubtful, or too few are left for a verdict.
    """
    if not doubtful.any():
        return None
    try:
        sound = trials.assign(**{metric: trials[metric].mask(doubtful)})
        return compare_main_effects(make_design(sound, metric, None, block), confidence).winner
    except AnalysisError:  # no design is left, or one level of a factor
        return None
