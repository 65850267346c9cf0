"""Numbers and names as people write them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from results.statistics.design.intervals import Estimate

DASH, MINUS, TIMES = "\u2013", "\u2212", " \u00d7 "

SHORT = ("fgsm", "pgd", "cw", "apgd", "ce", "dlr", "fab", "ho", "fmn")
ATTACKS = {**{name: name.upper() for name in SHORT}, "square": "Square", "autoattack": "AutoAttack"}
"""How words of attacks' names are written; others are as they are."""


def percent(share: float, digits: int = 0) -> str:
    """Return a share as a percentage, such as ``54 %``; a dash where there is none."""
    return f"{number(100 * share, digits)} %" if math.isfinite(share) else DASH


def number(value: float, digits: int = 1) -> str:
    """Return a number with a true minus sign and without a negative zero; a dash for NaN."""
    if not math.isfinite(value):
        return DASH
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", MINUS)


def interval(low: float, high: float, confidence: float = 0.95) -> str:
    """Return the interval of a share in words."""
    return f"{100 * confidence:.3g} % interval {number(100 * low, 0)} to {percent(high)}"


def share_words(share: Estimate, confidence: float = 0.95) -> str:
    """Return a share with its interval, both as far as shares go: ``54 % (40 to 61 %)``."""
    value, low, high = (possible(end) for end in share)
    return f"{percent(value)} ({interval(low, high, confidence)})"


def possible(share: float, least: float = 0.0) -> float:
    """Return a share within its possible range; unbiased estimates may lie beyond it."""
    return min(max(share, least), 1.0) if math.isfinite(share) else share


def listed(items: Sequence[str], word: str = "and") -> str:
    """Return items as a list within a sentence."""
    return f" {word} ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else items[0]


def shortly(items: Sequence[str], most: int = 3) -> str:
    """Return items as a list, of which the first two are named where there are many."""
    return listed(items if len(items) <= most else [*items[:2], f"{len(items) - 2} more"])


def several(count: int, noun: str) -> str:
    """Return how many there are: ``1 trial``, ``3 trials``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def term_name(term: str) -> str:
    """Return a term as a person writes it: ``criterion`` times ``fine-tuning``."""
    named = {"finetuning": "fine-tuning", "dataset": "data set"}
    return TIMES.join(named.get(part, part.replace("finetuning", "fine-tuning"))
                      for part in term.split(":"))  # fmt: skip


def metric_label(metric: str) -> str:
    """Return what a person calls a metric: ``finetuned_pgd_20`` is PGD-20 accuracy."""
    attack = metric.partition("_")[2].replace("_", "-")
    named = {"clean": "clean accuracy", "worst": "worst-case accuracy"}
    written = re.sub("[a-z]+", lambda word: ATTACKS.get(word[0], word[0]), attack)
    return named.get(attack, f"{written} accuracy")
