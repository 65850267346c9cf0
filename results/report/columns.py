"""Columns of the page's tables: a heading, and how a row's cell reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from results.statistics.design.words import number, percent, possible, term_name


@dataclass(frozen=True)
class Column:
    """A heading, and what stands below it in a row."""

    heading: str
    cell: Callable[[pd.Series], str]
    text: bool = False
    """Words are aligned to the left, numbers to the right."""


def text(heading: str, column: str) -> Column:
    """Return a column of names."""
    return Column(heading, lambda row: term_name(str(row[column])), text=True)


def count(column: str) -> Column:
    """Return a column of whole numbers under their own name."""
    return Column(column, lambda row: str(row[column]))


def share(heading: str, column: str) -> Column:
    """Return a column of shares in percent."""
    return Column(heading, lambda row: tenths_of_percent(row[column]))


def p_value(heading: str, column: str) -> Column:
    """Return a column of p-values."""

    def cell(row: pd.Series) -> str:
        p = row[column]
        if pd.isna(p):
            return number(p)
        return "< 0.001" if p < 0.001 else f"{p:.3f}"

    return Column(heading, cell)


def estimate(
    heading: str,
    column: str,
    words: Callable[[float], str] = number,
    ends: tuple[str, str] = ("low", "high"),
) -> Sequence[Column]:
    """Return an estimate's column, and its interval's; a dash for one that cannot be given."""

    def interval(row: pd.Series) -> str:
        low, high = (row[name] for name in ends)
        if pd.isna(low):
            return number(float("nan"))
        return f"{words(low).removesuffix(' %')} to {words(high)}"

    return Column(heading, lambda row: words(row[column])), Column("95 % interval", interval)


def tenths_of_percent(share: float) -> str:
    """Return a share in percent with one digit, within its possible range."""
    return percent(possible(share), 1)


def gap_of_percent(gap: float) -> str:
    """Return a difference of shares in percent with one digit, within its possible range."""
    return percent(possible(gap, -1), 1)
