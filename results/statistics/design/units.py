"""Units of the columns of tables, as their attribute ``units``."""

from __future__ import annotations

import pandas as pd

UNITS = {
    **dict.fromkeys(("share",), "of the variance between cells"),
    **dict.fromkeys(("points", "effect", "mean", "cost", "cost_within"), "accuracy points"),
    **dict.fromkeys(("seen", "within_low", "within_high"), "accuracy points"),
    **dict.fromkeys(("seeds", "trials", "pairs", "cells", "tries", "images"), "count"),
    **dict.fromkeys(("rank", "apart"), "ranks, 1 is best"),
    **dict.fromkeys(("iou", "by_chance"), "of the units that either keeps"),
    **dict.fromkeys(("p", "p_equal"), "probability"),
    "tau": "Kendall's tau-b",
    "accuracy": "accuracy points",
    "disagree": "of the images",
}


def points(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of accuracy points whose attributes say the units of its columns."""
    return united(table, "accuracy points")


def united(table: pd.DataFrame, ends: str, **others: str) -> pd.DataFrame:
    """Return a table whose attributes say its columns' units.

    Args:
        table: whose units are said.
        ends: the unit of intervals' ends.
        others: of columns that have another unit here than elsewhere.
    """
    known = UNITS | dict.fromkeys(("low", "high"), ends) | others
    table.attrs["units"] = {name: known[name] for name in table.columns if name in known}
    return table
