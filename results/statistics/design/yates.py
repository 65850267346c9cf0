"""The exact effects of a complete array: means and deviations, an axis at a time."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from results.statistics.design.design import Array


def effects_of(values: Array, wanted: Collection[tuple[int, ...]]) -> dict[tuple[int, ...], Array]:
    """Return effects by term, a tuple of axes; axes that are not in it are of length 1.

    Every axis in turn splits what there is into its mean and the deviations from it: the work is
    that of the array itself, not of the array times the terms.

    Args:
        values: [levels of factor 1, ..., S].
        wanted: the terms.

    Source:
        The algorithm of Yates, 1937.
    """
    axes = {axis for term in wanted for axis in term}
    order = max((len(term) for term in wanted), default=0)
    split: dict[tuple[int, ...], Array] = {(): values}
    # The longest axis first: means, which most terms are made of, shrink at once.
    for axis in sorted(range(values.ndim - 1), key=lambda a: -values.shape[a]):
        whole, split = split, {}
        for term, part in whole.items():
            mean = part.mean(axis=axis, keepdims=True)
            split[term] = mean
            if axis in axes and len(term) < order:
                split[tuple(sorted((*term, axis)))] = part - mean
    return {term: split[term] for term in wanted}
