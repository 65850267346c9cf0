"""A table as text: CSV, Markdown and LaTeX; the same input gives the same bytes."""

from __future__ import annotations

import pandas as pd

from results.statistics.design.words import term_name

DASH = "--"
ESTIMATES = ("mean", "effect", "share", "difference", "cost", "tau")
"""What a column is called that stands before its interval."""
SIGNS = {
    "\N{MULTIPLICATION SIGN}": r"$\times$", "\N{MINUS SIGN}": "$-$", "\N{EN DASH}": "--",
    "^": r"\^{}", "~": r"\~{}", "\N{HORIZONTAL ELLIPSIS}": r"\dots{}",
}  # fmt: skip
"""Signs that LaTeX writes otherwise."""
SHARES = ("share", "interaction", "finetuning", "criterion")


def table_files(table: pd.DataFrame) -> dict[str, bytes]:
    """Return a table in every form, by the ending of its file."""
    return {"csv": csv(table), "md": markdown(table).encode(), "tex": latex(table).encode()}


def latex(table: pd.DataFrame) -> str:
    """Return a table as papers print it, for the packages booktabs and siunitx.

    An estimate and its interval are one column, mean and half-width, where the interval is even;
    else the interval stands in brackets. Names are those that people write, shares are in percent.
    """
    shown = table.drop(columns=["low", "high"], errors="ignore")
    value = next((name for name in ESTIMATES if name in table), None)
    heads, kinds, cells = [], [], []
    for name in shown.columns:
        percents = _percents(table, name in SHARES)
        if name == value and {"low", "high"} <= set(table):
            ends = table[[name, "low", "high"]].mul(
                _percents(table, "share" in table or "difference" in table), axis=0
            )
            cells.append([_with_interval(*row) for row in ends.to_numpy()])
            kinds.append("r")
        elif pd.api.types.is_float_dtype(table[name]):
            cells.append(["{" + DASH + "}" if pd.isna(v) else f"{v:.3g}"
                          for v in percents * table[name]])  # fmt: skip
            kinds.append("S")
        else:
            cells.append([escaped(term_name(str(v))) for v in table[name]])
            kinds.append("r" if pd.api.types.is_integer_dtype(table[name]) else "l")
        heads.append("{" + escaped(term_name(name).replace("_", " ")) + "}")
    rows = [" & ".join(row) + r" \\" for row in zip(*cells, strict=True)]
    lines = [rf"\begin{{tabular}}{{{''.join(kinds)}}}", r"\toprule", " & ".join(heads) + r" \\"]
    return "\n".join([*lines, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}", ""])


def _percents(table: pd.DataFrame, shares: bool) -> pd.Series[float]:
    """Return by what each row's numbers of a column are multiplied: shares are in percent."""
    points = table["unit"] == "accuracy points" if "unit" in table else [False] * len(table)
    return pd.Series([100.0 if shares and not p else 1.0 for p in points], index=table.index)


def _with_interval(value: float, low: float, high: float) -> str:
    if pd.isna(value):
        return DASH
    if pd.isna(low):
        return rf"\num{{{value:.1f}}}"
    if abs((value - low) - (high - value)) < 0.05:
        return rf"$\num{{{value:.1f}}} \pm \num{{{(high - low) / 2:.1f}}}$"
    return rf"\num{{{value:.1f}}} [\num{{{low:.1f}}}, \num{{{high:.1f}}}]"


def escaped(text: str) -> str:
    """Return a text as LaTeX prints it."""
    for sign in ("\\", "&", "%", "_", "#", "$", "{", "}"):
        text = text.replace(sign, r"\textbackslash{}" if sign == "\\" else f"\\{sign}")
    for sign, written in SIGNS.items():
        text = text.replace(sign, written)
    return text


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
