"""Damage curves: what a loss suffers as more of a module goes, and how a budget is spent."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prune_core.pruning.prunable.costs import Counts

STEPS = 16
"""The parts in which a module goes, at most: shares between them are interpolated."""
UNBOUNDED = 10.0
"""A rise that is not finite counts as so many times the largest finite one of all modules."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """The rise of a loss by the share of a module's units that is removed, lowest scores first.

    Attributes:
        removed: Shares, ascending, from 0 to 1.
        rises: The rise of the loss at each, in nats; 0 at 0.
    """

    removed: tuple[float, ...]
    rises: tuple[float, ...]

    @classmethod
    def of(cls, removed: Sequence[float], rises: Sequence[float], most: float = math.inf) -> Curve:
        """Return the convex curve below measured points: damage per unit only grows.

        Below zero a rise is noise, and so is less damage by a larger removal. Beyond the last
        point the curve goes on as steeply as before.

        Args:
            removed: Shares in (0,1), ascending.
            rises: The rise measured at each; infinite for a loss that is not a number.
            most: What an infinite rise counts as.
        """
        ys = np.maximum.accumulate([0.0, *np.minimum(rises, most)])
        xs = np.array([0.0, *removed])
        last = (ys[-1] - ys[-2]) / (xs[-1] - xs[-2])
        hull: list[tuple[float, float]] = []
        for x, y in zip([*xs, 1.0], [*ys, ys[-1] + last * (1 - xs[-1])], strict=True):
            while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-1], (x, y)):
                hull.pop()
            hull.append((float(x), float(y)))
        return cls(*map(tuple, zip(*hull, strict=True)))

    def at(self, removed: Floats | float) -> Floats:
        """Return the rise at shares of any shape."""
        return np.asarray(np.interp(removed, self.removed, self.rises))


def _slope(one: tuple[float, float], other: tuple[float, float]) -> float:
    return (other[1] - one[1]) / (other[0] - one[0])


def curves_of(
    measured: Mapping[str, Sequence[float]], removed: Sequence[float]
) -> dict[str, Curve]:
    """Return the curve of every module from the rises that were measured.

    Args:
        measured: By module, the rise at each share.
        removed: The shares, in (0,1), ascending.
    """
    finite = [rise for rises in measured.values() for rise in rises if math.isfinite(rise)]
    most = UNBOUNDED * max(finite, default=1.0)
    return {name: Curve.of(removed, rises, most) for name, rises in measured.items()}


def path(curves: Sequence[Curve], units: Sequence[int], cost: Callable[[Counts], Counts]) -> Floats:
    """Return how modules go, step by step, where every step hurts least for what it saves.

    Each step removes one part of one module: the one whose rise over the exact cost that it saves,
    as the network is by then, is least. For convex curves and costs that add up over modules this
    gives at each of its points the least sum of rises for the cost reached (Fox, 1966, "Discrete
    optimization via marginal analysis"). The costs of channels multiply, so there it is a
    heuristic; a test compares it with an exhaustive search.

    Args:
        curves: Those of the modules.
        units: How many units each has.
        cost: From units kept [..., modules] to costs [...].

    Returns:
        Shares kept [steps, modules], from all ones to all zeros.
    """
    whole = np.array(units)
    parts = np.minimum(whole, STEPS)
    rises = [
        np.diff(curve.at(np.arange(n + 1) / n)) for curve, n in zip(curves, parts, strict=True)
    ]
    gone = np.zeros_like(whole)
    points = [np.ones(len(whole))]

    def kept(without: Counts) -> Counts:
        return np.asarray(np.rint(whole * (1 - without / parts)), dtype=np.int64)

    for _ in range(int(parts.sum())):
        left = gone < parts
        next_part = np.minimum(gone + np.diag(left), parts)
        saved = np.maximum(cost(kept(gone)) - cost(kept(next_part)), 1e-9)
        rise = [each[n] if n < len(each) else np.inf for each, n in zip(rises, gone, strict=True)]
        gone[np.lexsort((gone / parts, np.array(rise) / saved))[0]] += 1
        points.append(1 - gone / parts)
    return np.stack(points)


def along(shares: Floats, dial: float) -> Floats:
    """Return the shares [modules] at a point of a path: its start at 1, its end at 0."""
    place = (1 - dial) * (len(shares) - 1)
    before = min(int(place), len(shares) - 2)
    point: Floats = shares[before] + (place - before) * (shares[before + 1] - shares[before])
    return point
