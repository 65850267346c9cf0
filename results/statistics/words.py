"""Numbers and names as people write them."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percent(share: float, digits: int = 0) -> str:
    """Return a share as a percentage, such as ``54 %``; a dash where there is none."""
    return f"{number(100 * share, digits)} %" if math.isfinite(share) else DASH


def number(value: float, digits: int = 1) -> str:
    """Return a number with a true minus sign and without a negative zero; a dash for NaN."""
    if not math.isfinite(value):
        return DASH
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", MINUS)


def interval(low: float, high: float) -> str:
    """Return the interval of a share in words."""
    return f"95 % interval {number(100 * low, 0)} to {percent(high)}"


def listed(items: Sequence[str]) -> str:
    """Return items as a list within a sentence."""
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else items[0]


DASH, MINUS = "\u2013", "\u2212"
