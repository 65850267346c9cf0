"""Units of the columns of tables, as their attribute ``units``."""

from __future__ import annotations

import pandas as pd

UNITS = {
    **dict.fromkeys(("share",), "of the variance between cells"),
    **dict.fromkeys(("points", "effect", "mean", "cost", "cost_within"), "accuracy points"),
    **dict.fromkeys(("seen", "within_low", "within_high"), "accuracy points"),
    **dict.fromkeys(("seeds", "trials", "pairs", "cells"), "count"),
    "tau": "Kendall's tau-b",
}


def points(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of accuracy points whose attributes say the units of its columns."""
    return united(table, "accuracy points")


def united(table: pd.DataFrame, ends: str) -> pd.DataFrame:
    """Return a table whose attributes say its columns' units; intervals' ends have those given."""
    table.attrs["units"] = {
        name: ends if name in ("low", "high") else UNITS[name]
        for name in table.columns
        if name in UNITS or name in ("low", "high")
    }
    return table
