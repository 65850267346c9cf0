"""The first screen of a sweep that asks what ratios add: its question, its answer, its bars."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from results.statistics.design.intervals import t_quantile
from results.statistics.design.words import metric_label, number
from results.statistics.shares.comparison import PAIR

QUESTION = "What matters more for a pruned network: the pruning criterion or the fine-tuning?"
OF_RATIOS = "What do adaptive ratios add to a pruned network?"
CONFIDENCE = 0.95
WORD, ALONE = "95 % interval ", "95 % interval, taken alone, "
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
"""Points between the ticks of an axis."""


@dataclass(frozen=True)
class Gap:
    """What an allocation adds to uniform ratios, and where that is drawn, in percent of a line."""

    allocation: str
    words: str
    at: float
    low: float
    width: float
    zero: float
    """Where uniform ratios are."""


def question(trials: pd.DataFrame) -> str:
    """Return what a sweep asks: of ratios, where it varies them and not both of the usual pair."""
    alone = any(trials[name].nunique() < 2 for name in PAIR)
    return OF_RATIOS if alone and trials["allocation"].nunique() > 1 else QUESTION


def against_uniform(table: pd.DataFrame | None, metric: str) -> pd.DataFrame:
    """Return the rows of the finding ``adaptive_ratios`` over all cells, the largest mean first."""
    if table is None:
        return pd.DataFrame(
            columns=["metric", "allocation", "mean", "low", "high", "seeds", "pairs"]
        )
    mine = table[(table["metric"] == metric) & (table["factor"] == "all")].dropna(subset="mean")
    return mine.sort_values("mean", ascending=False, ignore_index=True)


def answer(rows: pd.DataFrame) -> str:
    """Return what ratios add in one sentence with two numbers; empty where nothing is known.

    Args:
        rows: ``allocation``, ``metric``, ``mean``, ``low``, ``high``, ``seeds``, from
            `against_uniform`.
    """
    if rows.empty:
        return ""
    apart = rows[_told_apart(rows)]
    of = rows if apart.empty else apart
    furthest = of.iloc[int(of["mean"].abs().to_numpy().argmax())]
    by = (
        f"{furthest['allocation']}, by {number(furthest['mean'])} points of "
        f"{metric_label(furthest['metric'])}{_interval(furthest, ALONE if len(rows) > 1 else WORD)}"
    )
    if rows["low"].isna().all():
        return f"With one seed there is no interval; furthest from uniform ratios lies {by}."
    kinds = "1 kind of ratios" if len(rows) == 1 else f"{len(rows)} kinds of ratios together"
    if apart.empty:
        return f"Of {kinds}, none is told apart from uniform ones; furthest lies {by}."
    if len(apart) == 1:
        return f"Of {kinds}, 1 is told apart from uniform ones: {by}."
    return f"Of {kinds}, {len(apart)} are told apart from uniform ones, the furthest {by}."


def _told_apart(rows: pd.DataFrame) -> pd.Series[bool]:
    """Say which differ from uniform ratios, counting that all were looked at (Bonferroni)."""
    degrees = (rows["seeds"] - 1).clip(lower=1)
    confidence = 1 - (1 - CONFIDENCE) / len(rows)
    wider = [t_quantile(confidence, one) / t_quantile(CONFIDENCE, one) for one in degrees]
    low = rows["mean"] - wider * (rows["mean"] - rows["low"])
    high = rows["mean"] + wider * (rows["high"] - rows["mean"])
    return (low > 0) | (high < 0)


def gaps(rows: pd.DataFrame) -> tuple[list[Gap], list[tuple[float, str]]]:
    """Return a bar an allocation, and the ticks of their axis: where, and what stands there.

    Both are empty where there is one allocation alone.
    """
    if len(rows) < 2:
        return [], []
    drawn = rows[["mean", "low", "high"]].to_numpy(dtype=float)
    least, most = min(0.0, float(np.nanmin(drawn))), max(0.0, float(np.nanmax(drawn)))
    step = next((one for one in STEPS if (most - least) / one <= 5), STEPS[-1])
    first = math.floor(least / step)
    last = max(math.ceil(most / step), first + 1)

    def place(points: float) -> float:
        return 100 * (points / step - first) / (last - first)

    bars = []
    for _, row in rows.iterrows():
        ends = ("low", "high") if np.isfinite(row["low"]) else ("mean", "mean")
        at, low, high = (place(row[name]) for name in ("mean", *ends))
        words = number(row["mean"]) + _interval(row, "")
        bars.append(Gap(row["allocation"], words, at, low, high - low, place(0)))
    at_points = [one * step for one in range(first, last + 1)]
    return bars, [(place(points), number(points, int(step < 1))) for points in at_points]


def _interval(row: pd.Series, name: str) -> str:
    known = np.isfinite(row["low"])
    return f" ({name}{number(row['low'])} to {number(row['high'])})" if known else ""
