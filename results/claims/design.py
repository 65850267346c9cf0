"""When a claim is looked at: after how many seeds, and what may be missed at each look."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass


def _obrien_fleming(share: float, alpha: float) -> float:
    from scipy.special import ndtr, ndtri  # a quarter of a second to import

    return float(2 * ndtr(ndtri(alpha / 2) / math.sqrt(share)))


def _pocock(share: float, alpha: float) -> float:
    return alpha * math.log(1 + (math.e - 1) * share)


SPENDING: Mapping[str, Callable[[float, float], float]] = {
    "obrien-fleming": _obrien_fleming,
    "pocock": _pocock,
}
"""What may have been missed by a share of the seeds (Lan and DeMets, 1983)."""
LEAST_SEEDS = 3
"""Fewer give no interval of a share, and hardly one of anything else."""


@dataclass(frozen=True)
class Design:
    """A fixed design has one look; a group-sequential one several, with growing numbers of seeds.

    Each look gets the part of alpha that the spending function adds by it, and decides at that
    part alone. By Bonferroni's inequality all of them together miss at most alpha, whatever the
    numbers' joint distribution: it holds for shares and ranks as for differences. For those,
    boundaries from their joint distribution would have 2 to 7 points more power
    (`benchmarks/claims.py`).
    """

    seeds: tuple[int, ...]
    """At each look, growing."""
    alpha: float = 0.05
    """The chance that the interval of any look misses the truth."""
    spending: str = "obrien-fleming"

    @property
    def alphas(self) -> tuple[float, ...]:
        """What may be missed at each look."""
        spend = SPENDING[self.spending]
        most = self.seeds[-1]
        spent = [0.0, *(spend(seeds / most, self.alpha) for seeds in self.seeds)]
        return tuple(after - before for before, after in itertools.pairwise(spent))
