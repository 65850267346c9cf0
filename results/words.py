"""Numbers and names as people write them."""

from __future__ import annotations

import math


def percent(share: float, digits: int = 0) -> str:
    """Return a share as a percentage, such as ``54 %``; a dash where there is none."""
    return f"{number(100 * share, digits)} %" if math.isfinite(share) else DASH


def number(value: float, digits: int = 1) -> str:
    """Return a number with a true minus sign and without a negative zero; a dash for NaN."""
    if not math.isfinite(value):
        return DASH
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", MINUS)


DASH, MINUS = "\u2013", "\u2212"
