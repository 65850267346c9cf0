"""The report: every figure and table of a sweep, regenerated from Parquet alone.

The same input gives the same bytes. One HTML page that needs nothing else; each figure as SVG, PDF
and PNG with the CSV that it draws; each table as CSV, Markdown and LaTeX.
"""

from __future__ import annotations

import re
from functools import partial

import jinja2
import markupsafe
import pandas as pd

from results.report.explorer import explorer_data
from results.report.figures import render
from results.report.gallery import gallery
from results.report.style import BLACK, FAINT, INK
from results.report.summary import Summary
from results.report.tables import shown_tables
from results.statistics.words import number, percent
from results.tables.schema import metric_label

THEMED = {
    "#ffffff": "var(--card)",
    **dict.fromkeys((INK.lower(), BLACK.lower(), "#000000", "#444444"), "var(--ink)"),
    "#666666": "var(--soft)",
    FAINT.lower(): "var(--line)",
}
"""Colours of drawings that are the page's own there, so that they follow light and dark."""


def make_report(
    summary: Summary, title: str, others: tuple[tuple[str, Summary], ...] = ()
) -> dict[str, bytes]:
    """Return the report's files by relative path; ``index.html`` is the page.

    ``others``: sweeps to compare with, by title.
    """
    files: dict[str, bytes] = {}
    drawn = {}
    for name, caption, table, figure in gallery(summary):
        images = render(figure)
        files |= {f"figures/{name}.{kind}": data for kind, data in images.items()}
        files[f"figures/{name}.csv"] = _csv(table)
        drawn[name] = {"caption": caption, "svg": _inline(name, images["svg"].decode())}
    tables = dict(summary.tables)
    if others:
        from results.report.compared import compared_verdicts

        tables["compared"] = compared_verdicts([(title, summary), *others])
    for name, table in tables.items():
        files[f"tables/{name}.csv"] = _csv(table)
        files[f"tables/{name}.md"] = markdown(table).encode()
        files[f"tables/{name}.tex"] = table.to_latex(
            index=False, float_format="%.3f", na_rep="", escape=True
        ).encode()
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.PackageLoader("results.report"),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "points": number,
        "percent": partial(percent, digits=1),
        "label": metric_label,
        "unbroken": _unbroken,
    }
    data = explorer_data(summary.trials, [found for found in summary.metrics if found])
    page = environment.get_template("report.html.j2").render(
        title=title,
        summary=summary,
        figures=drawn,
        tables={table.name: table for table in shown_tables(summary)},
        adaptive=_rows(tables, "adaptive_ratios"),
        compared=_rows(tables, "compared"),
        explorer=markupsafe.Markup(data) if data else None,  # noqa: S704 - JSON of ours, "</" escaped
    )
    files["index.html"] = page.encode()
    return files


def _rows(tables: dict[str, pd.DataFrame], name: str) -> list[dict[object, object]]:
    return tables[name].to_dict("records") if name in tables else []


def _inline(name: str, svg: str) -> markupsafe.Markup:
    """Return a drawing for the page: without its prologue, its colours the page's own.

    Names within it get the figure's name in front: all drawings share the page's one name space.
    """
    inline = svg[svg.index("<svg") :]
    inline = re.sub(r'\bid="', f'id="{name}-', inline)
    inline = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", inline)
    inline = re.sub(r"<metadata>.*?</metadata>\s*", "", inline, flags=re.DOTALL)
    inline = inline.replace("<svg ", '<svg aria-hidden="true" ', 1)  # its caption and table say it
    for colour, themed in THEMED.items():
        inline = inline.replace(colour, themed)
    return markupsafe.Markup(inline)  # noqa: S704 - our own drawing; matplotlib escapes its text


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
