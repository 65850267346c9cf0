"""Levels that collapse at some seeds and not at others: few seeds do not tell how often."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from results.statistics.design.design import Array, Design
from results.statistics.design.words import listed, number, term_name
from results.statistics.levels.effects import by_level

RARE = 0.01
"""A level is looked at where its seeds scatter more than the other levels', at this p."""
CLEAR, LEAST = 3.0, 5.0
"""A gap between seeds counts from so many times the spread on either side of it, and from so many
accuracy points."""
CLEAR_OF_TWO, LEAST_OF_TWO = 10.0, 10.0
"""The same of the difference of two levels, where there is no other to compare its scatter with."""
ENOUGH = 5
"""Of struck seeds, and of spared ones: with fewer the share of struck ones is hardly known."""


class Strike(NamedTuple):
    """A level whose effect is another at some seeds."""

    factor: str
    level: object
    seeds: tuple[object, ...]
    """The fewer ones."""
    by: float
    """How far it lies apart there from where it is at the other seeds, in accuracy points."""
    of: int
    """How many seeds there are."""

    @property
    def known(self) -> bool:
        """Whether there are enough seeds of either kind to tell how often it strikes."""
        return min(len(self.seeds), self.of - len(self.seeds)) >= ENOUGH

    def __str__(self) -> str:
        way = "falls" if self.by < 0 else "rises"
        where = (
            f"at {len(self.seeds)} of {self.of} seeds"
            if len(self.seeds) > 1
            else f"at seed {self.seeds[0]} alone"
        )
        points = f"{number(abs(self.by), 0)} points"
        return f"{term_name(self.factor)} {self.level} {way} by {points} {where}"


def strikes(design: Design, factor: str) -> list[Strike]:
    """Return the levels of a factor whose seeds fall into two groups that lie far apart.

    Their scatter must be more than that of the other levels among themselves (an F test), with a
    gap in it.
    """
    from scipy.special import fdtrc  # a quarter of a second to import

    effects, levels = by_level(design, factor), design.levels[design.factors.index(factor)]
    free, two, found = effects.shape[1] - 1, len(levels) == 2, []
    for i, level in enumerate(levels):
        others = np.delete(effects, i, axis=0)
        apart = effects[i] - others.mean(axis=0)
        if not two:
            usual = (others - others.mean(axis=0)).var(axis=1, ddof=1).sum() / (len(others) - 1)
            # The mean of the others scatters as well.
            ratio = apart.var(ddof=1) / usual / (1 + 1 / len(others)) if usual > 0 else np.inf
            if fdtrc(free, free * (len(others) - 1), ratio) >= RARE:
                continue
        fewer, by = _split(apart, *((CLEAR_OF_TWO, LEAST_OF_TWO) if two else (CLEAR, LEAST)))
        if len(fewer):
            seeds = tuple(design.seeds[int(s)] for s in sorted(fewer))
            found.append(Strike(factor, level, seeds, by, free + 1))
    # Of two levels one mirrors the other: what falls is named.
    return [one for one in found if one.by < 0][:1] if two else found


def few(found: list[Strike]) -> str:
    """Say of which strikes so few seeds do not tell how often they are; or nothing."""
    unknown = [str(one) for one in found if not one.known]
    if not unknown:
        return ""
    return f"{listed(unknown)}, and {found[0].of} seeds do not tell how often that is"


def _split(values: Array, clear: float, least: float) -> tuple[NDArray[np.intp], float]:
    """Return which of a level's seeds are the fewer ones beyond a gap, and how far they lie off."""
    order = np.argsort(values)
    ordered = values[order]
    at = int(np.diff(ordered).argmax()) + 1
    low, high = ordered[:at], ordered[at:]
    within = max(float(np.ptp(low)), float(np.ptp(high)))
    if high[0] - low[-1] <= max(clear * within, least):
        return order[:0], 0.0
    by = float(high.mean() - low.mean())
    return (order[:at], -by) if len(low) <= len(high) else (order[at:], by)
