"""What intervals say of a claim: supported, refuted, equivalent, or undecided."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from results.claims.question import EQUIVALENT, GREATER, NO_WORSE
from results.statistics.design.design import Array

UNDECIDED, SUPPORTED, REFUTED, SAME = "undecided", "supported", "refuted", "equivalent"
OUTCOMES = (UNDECIDED, SUPPORTED, REFUTED, SAME)


def decided(
    ends: tuple[Array, Array], wide: tuple[Array, Array], margin: float, expects: str
) -> NDArray[np.intp]:
    """Return what intervals decide of claims, each of several parts, as places in `OUTCOMES`.

    A claim is of all its parts. It is supported where each is shown to be as claimed: each at the
    full level, since all must err together (an intersection-union test). It is refuted where any
    is shown not to be: at the level divided by their number. A claim of something greater is not
    supported where all parts are shown to lie within the margin: they are equivalent.

    Args:
        ends: of the intervals, low and high, [..., parts].
        wide: those of the same intervals at a part of the error each, as large.
        margin: by how much something is greater, or within what it is equivalent.
        expects: greater, no-worse or equivalent.

    Source:
        Berger, 1982 (intersection-union tests); Schuirmann, 1987 (equivalence).
    """
    (low, high), (lowest, highest) = ends, wide
    within = (low > -margin) & (high < margin)
    if expects == EQUIVALENT:
        shown, denied = within, (lowest > margin) | (highest < -margin)
    else:
        least = {GREATER: margin, NO_WORSE: -margin}[expects]
        shown, denied = low > least, highest < least
    same = within.all(axis=-1) & (expects == GREATER)
    choices = [same, shown.all(axis=-1), denied.any(axis=-1)]
    return np.select(choices, [3, 1, 2], default=0).astype(np.intp)
