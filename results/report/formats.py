"""A table as text: CSV, Markdown and LaTeX; the same input gives the same bytes."""

from __future__ import annotations

import pandas as pd


def table_files(table: pd.DataFrame) -> dict[str, bytes]:
    """Return a table in every form, by the ending of its file."""
    tex = table.to_latex(index=False, float_format="%.3f", na_rep="", escape=True)
    return {"csv": csv(table), "md": markdown(table).encode(), "tex": tex.encode()}


def csv(table: pd.DataFrame) -> bytes:
    """Return a table as CSV, numbers with six digits."""
    return table.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()


def markdown(table: pd.DataFrame) -> str:
    """Return a table as Markdown, numbers with three decimals."""
    header = [str(name) for name in table.columns]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += [
        "| " + " | ".join(_cell(value) for value in row) + " |"
        for row in table.itertuples(index=False)
    ]
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.3f}"
    return str(value).replace("|", "\\|")
