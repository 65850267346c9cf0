"""What differs between levels besides their names, and which levels are hardly two."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from results.statistics.design.design import Design
from results.statistics.design.least_squares import whole
from results.statistics.design.share_parts import variances
from results.statistics.design.words import listed
from results.tables.schema import FACTORS, SUBFACTORS

BUDGET = ("epochs", "rounds", "batch_size", "attack_steps")
"""Settings of fine-tuning that are compute: more of them is no property of a criterion."""
ALIKE = 0.1
"""Levels whose numbers differ by a smaller share, and in nothing else, are as good as one."""
FAR = 0.5
"""Of a factor's spread: as long as two levels may lie further apart, they count as two."""


def confounded(trials: pd.DataFrame, factor: str = "criterion") -> dict[str, str]:
    """Return the settings that differ between a factor's levels where all other factors agree.

    Overrides make them: one criterion gets 20 epochs where the others get 4.

    Returns:
        By the setting, what it is at which level.
    """
    others = [name for name in FACTORS if name in trials and name != factor]
    found: dict[str, str] = {}
    if factor not in trials or trials[factor].nunique() < 2:
        return found
    for name in (one for one in SUBFACTORS if one in trials):
        # At the same cell otherwise, and seed by seed: seeds may have rates of their own.
        context = [*others, *(["seed"] if "seed" in trials else [])]
        rows = trials[trials[name].notna()]
        if rows[name].nunique() < 2:  # nowhere, then; to look context by context takes long
            continue
        if not (rows.groupby(context, dropna=False)[name].nunique() > 1).any():
            continue
        by_level = rows.groupby(factor)[name].agg(lambda of: "/".join(map(str, sorted(set(of)))))
        values = by_level.groupby(by_level).groups
        parts = [f"{_short(list(map(str, at)))}: {value}" for value, at in values.items()]
        found[name] = "; ".join(sorted(parts))
    return found


def duplicates(trials: pd.DataFrame, design: Design, factor: str) -> list[tuple[str, ...]]:
    """Return groups of a factor's levels that are hardly two: by their settings or by outcomes.

    Every two of a group are alike: one that is like another's like may still be unlike it.

    Args:
        trials: rows of ``trials``: the settings of fine-tunings are theirs.
        design: the metric over cells and seeds.
        factor: whose levels are compared.
    """
    axis = design.factors.index(factor)
    levels = design.levels[axis]
    pairs = set(_alike_in_settings(trials, levels) if factor == "finetuning" else ())
    pairs |= set(_alike_in_outcomes(design, axis))
    groups: list[set[object]] = []
    for pair in sorted(pairs, key=lambda pair: tuple(map(levels.index, pair))):
        joined = [group for group in groups if group & set(pair)]
        merged = set(pair).union(*joined)
        if pairs.issuperset(itertools.combinations([one for one in levels if one in merged], 2)):
            groups = [*(group for group in groups if group not in joined), merged]
    return [tuple(str(one) for one in levels if one in group) for group in groups]


def _alike_in_settings(
    trials: pd.DataFrame, levels: Sequence[object]
) -> Iterator[tuple[object, object]]:
    known = [name for name in SUBFACTORS if name in trials]
    if not known:
        return
    table = trials.drop_duplicates("finetuning").set_index("finetuning")[known]
    for first, second in itertools.combinations(levels, 2):
        if all(_near(table.at[first, name], table.at[second, name]) for name in known):
            yield first, second


def _near(first: object, second: object) -> bool:
    nothing = pd.isna(pd.Series([first, second], dtype=object))
    if nothing.any():
        return bool(nothing.all())
    if isinstance(first, str) or isinstance(second, str):
        return first == second
    one, two = float(str(first)), float(str(second))
    return abs(one - two) <= ALIKE * max(abs(one), abs(two))


def _alike_in_outcomes(design: Design, axis: int) -> Iterator[tuple[object, object]]:
    """Go through pairs of levels between whose cells no difference is seen or may be large."""
    if len(design.seeds) < 3 or len(design.levels[axis]) < 3:
        return
    values = np.moveaxis(whole(design), axis, 0)
    seeds = values.shape[-1]
    flat = values.reshape(len(values), -1, seeds)
    apart = (flat - flat.mean(axis=0)).reshape(-1, seeds)
    spread = float(variances(apart.T @ apart / len(apart)))
    for i, j in itertools.combinations(range(len(flat)), 2):
        gap = flat[i] - flat[j]
        products = (gap.T @ gap / len(gap))[np.triu_indices(seeds, 1)]
        error = 2 * float(np.std(products, ddof=1)) / np.sqrt(len(products))
        seen = float(products.mean())
        if seen <= error and spread > 0 and seen + error < FAR**2 * spread:
            yield design.levels[axis][i], design.levels[axis][j]


def _short(names: list[str]) -> str:
    return listed(names) if len(names) <= 3 else f"{len(names)} others"
