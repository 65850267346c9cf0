"""The report: every figure and table of a sweep, regenerated from Parquet alone.

The same input gives the same bytes. One HTML page that needs nothing else; each figure as SVG, PDF
and PNG with the CSV that it draws; each table as CSV, Markdown and LaTeX.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from importlib import resources
from typing import Any

import jinja2
import markupsafe
import pandas as pd
from matplotlib.figure import Figure

from results import figures
from results.schema import metric_label
from results.summary import MOST_LEVELS, Summary
from results.words import number, percent

SHARES_CAPTION = (
    "Share of the variance between cells, by main effect and largest interactions, of the pruned "
    "networks before and after fine-tuning."
)
PARTS_CAPTION = (
    "Share of the variance between the fine-tuned networks' cells, the parts of fine-tuning being "
    "factors of their own; networks without fine-tuning are left out."
)
CURVES_CAPTION = "Bands are 95 % intervals of the mean over seeds."
MODULES_CAPTION = (
    "Above: Module Robust Sensitivity of every prunable module. Below: the share of its channels "
    "that each allocation removes. Means over seeds (and criteria), with 95 % intervals. MRS is "
    "our definition, derived from RiFT (arXiv 2308.02533)."
)


def make_report(summary: Summary, title: str) -> dict[str, bytes]:
    """Return the report's files by relative path; ``index.html`` is the page."""
    files: dict[str, bytes] = {}
    drawn = []
    for name, (caption, table, figure) in _figures(summary).items():
        images = figures.render(figure)
        files |= {f"figures/{name}.{kind}": data for kind, data in images.items()}
        files[f"figures/{name}.csv"] = _csv(table)
        svg = images["svg"].decode()
        inline = svg[svg.index("<svg") :]  # without the XML prologue, which HTML does not take
        drawn.append({"name": name, "caption": caption, "svg": markupsafe.Markup(inline)})  # noqa: S704 - our own drawing; matplotlib escapes its text
    for name, table in summary.tables.items():
        files[f"tables/{name}.csv"] = _csv(table)
        files[f"tables/{name}.md"] = markdown(table).encode()
        files[f"tables/{name}.tex"] = table.to_latex(
            index=False, float_format="%.3f", na_rep="", escape=True
        ).encode()
    files["index.html"] = _page(summary, title, drawn).encode()
    return files


def _figures(summary: Summary) -> dict[str, tuple[str, pd.DataFrame, Figure]]:
    """Return the figures that the data allow: caption, table and drawing, by name."""
    tables, label = summary.tables, metric_label(summary.headline)
    found: dict[str, tuple[str, pd.DataFrame, Figure]] = {}
    if (shares := tables.get("variance_shares")) is not None:
        found["variance_shares"] = (
            f"What decides {label}? " + SHARES_CAPTION,
            shares,
            figures.share_figure(shares),
        )
    if (curves := tables.get("accuracy_by_sparsity")) is not None:
        panels = {
            str(factor): part.rename(columns={"level": str(factor)})
            for factor, part in curves.groupby("factor", sort=True)
        }
        found["accuracy_by_sparsity"] = (
            f"{_capital(label)} after fine-tuning against sparsity. " + CURVES_CAPTION,
            curves,
            figures.curve_figure(panels, label),
        )
    if (found_parts := tables.get("finetuning_parts")) is not None:
        found["finetuning_parts"] = (
            f"Which part of fine-tuning decides {label}? " + PARTS_CAPTION,
            found_parts,
            figures.share_figure(found_parts),
        )
    if (crossed := tables.get("parts_crossed")) is not None:
        first, second = summary.parts[0].parts[:2]
        found["parts_crossed"] = (
            f"Mean {label} of fine-tuned networks by {first} and {second}, in accuracy points.",
            crossed,
            figures.heat_figure(crossed, first, second, label),
        )
    many = (
        "parts_crossed" in found
        and tables["criterion_by_finetuning"]["finetuning"].nunique() > MOST_LEVELS
    )
    if (heat := tables.get("criterion_by_finetuning")) is not None and not many:
        found["criterion_by_finetuning"] = (
            f"Mean {label} for every criterion and fine-tuning, in accuracy points.",
            heat,
            figures.heat_figure(heat, "criterion", "finetuning", label),
        )
    if (modules := tables.get("modules")) is not None and modules["mrs"].notna().any():
        found["modules"] = (
            MODULES_CAPTION,
            modules,
            figures.module_figure(modules),
        )
    return found


def _page(summary: Summary, title: str, drawn: list[dict[str, Any]]) -> str:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {
        "points": number,
        "percent": partial(percent, digits=1),
        "label": metric_label,
        "unbroken": _unbroken,
    }
    source = resources.files("results").joinpath("templates/report.html.j2")
    template = environment.from_string(source.read_text(encoding="utf-8"))
    # A table that the data did not allow has no rows.
    rows: dict[str, list[dict[Any, Any]]] = defaultdict(list)
    rows |= {name: table.to_dict("records") for name, table in summary.tables.items()}
    return template.render(title=title, summary=summary, figures=drawn, tables=rows)


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()


def markdown(table: pd.DataFrame) -> str:
    """Return a table as Markdown."""
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


def _unbroken(text: str) -> str:
    """Keep numbers and their percent signs on one line."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
