"""The report: every figure and table of a sweep, regenerated from Parquet alone.

The same input gives the same bytes. One HTML page that needs nothing else; each figure as SVG, PDF
and PNG with the CSV that it draws; each table as CSV, Markdown and LaTeX.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jinja2
import markupsafe
import pandas as pd

from results.report import columns, compared, front, ratios
from results.report.columns import Column
from results.report.explorer import explorer_data
from results.report.figures.render import render
from results.report.figures.style import (
    BLACK,
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    PURPLE,
    SLIM,
    VERMILION,
)
from results.report.finding import Section, worded
from results.report.findings import SECTIONS
from results.report.formats import csv, table_files
from results.report.summary import Summary
from results.statistics.design.words import metric_label, number
from results.statistics.levels.by_image import evaluated, images_of

THEMED = {
    "#ffffff": "var(--card)",
    **dict.fromkeys((INK.lower(), BLACK.lower(), "#000000", "#444444"), "var(--ink)"),
    "#666666": "var(--soft)",
    FAINT.lower(): "var(--line)",
    BLUE.lower(): "var(--blue)",
    VERMILION.lower(): "var(--red)",
    GREEN.lower(): "var(--green)",
    PURPLE.lower(): "var(--purple)",
    GREY.lower(): "var(--grey)",
}
"""Colours of drawings that are the page's own there, so that they can be read in light and dark."""


BY_METRIC = "Shares of the variance between networks; the interval is of their difference."
LARGER = 1.2
"""How much larger figures are on the page than in print, where their letters have 7 to 9 points."""

METRICS = (
    Column("metric", lambda row: metric_label(row["metric"]), text=True),
    columns.share("fine-tuning", "finetuning"),
    columns.share("criterion", "criterion"),
    *columns.estimate("difference", "difference", columns.gap_of_percent),
    columns.text("larger", "more"),
    columns.text("depends on", "depends_on"),
)


@dataclass(frozen=True)
class Shown:
    """A finding on the page: a figure, a table, or both."""

    name: str
    caption: str = ""
    images: dict[str, bytes] | None = None
    """The figure as files, by their endings."""
    slim: bytes | None = None
    """The same figure as SVG, drawn for a telephone's width."""
    table_caption: str = ""
    columns: Sequence[Column] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    folded: bool = False
    filed: bool = True
    """Whether the table is a file beside the page too."""
    more: tuple[tuple[str, ...], ...] = ()
    """Rows that are closed until a reader opens them."""

    @property
    def head(self) -> str:
        """The first sentence of the table's caption, which a closed table shows."""
        return self._said[0]

    @property
    def rest(self) -> str:
        """What the caption says after that."""
        return self._said[1]

    @property
    def _said(self) -> tuple[str, str]:
        found = re.match(r"(.{12,}?[.?;])\s+(.*)", self.table_caption)
        head, rest = found.groups() if found else (self.table_caption, "")
        return head.rstrip(".;"), rest[:1].upper() + rest[1:]

    @property
    def svg(self) -> markupsafe.Markup | None:
        """The figure for the page."""
        return _inline(self.name, self.images["svg"].decode(), LARGER) if self.images else None

    @property
    def slim_svg(self) -> markupsafe.Markup | None:
        """The figure for a narrow page."""
        return _inline(f"slim-{self.name}", self.slim.decode()) if self.slim else None


def make_report(
    summary: Summary, title: str, others: tuple[tuple[str, Summary], ...] = ()
) -> dict[str, bytes]:
    """Return the report's files by relative path; ``index.html`` is the page.

    ``others``: sweeps to compare with, by title.
    """
    tables = dict(summary.tables)
    if others:
        tables["compared"] = compared.compared_verdicts([(title, summary), *others])
    files = {
        f"tables/{name}.{kind}": data
        for name, table in tables.items()
        for kind, data in table_files(table).items()
    }
    sections = [(section, list(_shown(section, summary))) for section in SECTIONS]
    for shown in (shown for _, findings in sections for shown in findings if shown.images):
        images = {**(shown.images or {}), "csv": csv(tables[shown.name])}
        files |= {f"figures/{shown.name}.{kind}": data for kind, data in images.items()}
    files["index.html"] = _page(summary, title, sections, tables).encode()
    return files


def _shown(section: Section, summary: Summary) -> Iterator[Shown]:
    """Go through what the page shows of a section."""
    for finding in section.findings:
        for name, evidence in finding.instances(summary.evidence):
            table = summary.tables.get(name)
            if table is None:
                continue
            draw = finding.draw or (lambda *_: None)
            figure = draw(table, evidence, None)
            leads = finding.leads and finding.leads(table, evidence)
            slim = None if figure is None else draw(table, evidence, SLIM)
            if figure is not None or finding.columns:
                yield Shown(
                    name=name,
                    caption=worded(finding.caption, evidence),
                    images=None if figure is None else render(figure),
                    slim=None if slim is None else render(slim, ("svg",))["svg"],
                    table_caption=worded(finding.table_caption, evidence),
                    columns=finding.columns,
                    rows=_rows(table if leads is None else table[leads], finding.columns),
                    more=() if leads is None else _rows(table[~leads], finding.columns),
                    folded=finding.folded,
                )


def _rows(table: pd.DataFrame, columns: Sequence[Column]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(c.cell(row) for c in columns) for _, row in table.iterrows() if columns)


def _page(
    summary: Summary,
    title: str,
    sections: Sequence[tuple[Section, list[Shown]]],
    tables: dict[str, pd.DataFrame],
) -> str:
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.PackageLoader("results.report"),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"points": number, "label": metric_label, "unbroken": _unbroken}
    beside = None
    if "compared" in tables:
        rows = _rows(tables["compared"], compared.COLUMNS)
        beside = Shown(
            "compared",
            table_caption=compared.CAPTION if rows else compared.NONE,
            columns=compared.COLUMNS if rows else (),
            rows=rows,
        )
    trials, lead, loaded = summary.evidence.trials, summary.evidence.metric, summary.evidence.loaded
    added = ratios.against_uniform(tables.get("adaptive_ratios"), lead)
    gaps, ticks = ratios.gaps(added)
    asked = ratios.question(trials)
    explorer = explorer_data(trials, summary.evidence.metrics, loaded.epochs, loaded.modules)
    verdicts = summary.verdicts
    metrics = front.by_metric(verdicts)
    answer = front.headline(verdicts, summary.unsaid, added, asked)
    images = images_of(trials, evaluated(trials, loaded.evaluations, lead))
    return environment.get_template("report.html.j2").render(
        title=title,
        summary=summary,
        question=asked,
        answer=front.so_far(answer) if summary.missing else answer,
        alone=front.alone(summary.evidence.by_dataset),
        bars=front.bars(verdicts[0], tables.get("variance_shares")) if verdicts else [],
        run=front.what_was_run(trials, lead, images, loaded.epochs),
        by_metric=Shown(
            "by_metric",
            table_caption=BY_METRIC,
            columns=METRICS,
            rows=_rows(metrics, METRICS),
            filed=False,
        ),
        metric=lead,
        sections=sections,
        adaptive=[] if gaps or asked == ratios.OF_RATIOS else added.to_dict("records"),
        gaps=gaps,
        ticks=ticks,
        compared=beside,
        drill=explorer is not None and '"drill":' in explorer,
        explorer=markupsafe.Markup(explorer) if explorer else None,  # noqa: S704 - JSON of ours, "</" escaped
    )


def _inline(name: str, svg: str, larger: float = 1.0) -> markupsafe.Markup:
    """Return a drawing for the page: without its prologue, its colours the page's own.

    Names within it get the figure's name in front: all drawings share the page's one name space.
    """
    inline = svg[svg.index("<svg") :]
    size = re.compile(r'\b(width|height)="([\d.]+)pt"')
    inline = size.sub(lambda of: f'{of[1]}="{larger * float(of[2]):g}pt"', inline, count=2)
    inline = re.sub(r'\bid="', f'id="{name}-', inline)
    inline = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", inline)
    inline = re.sub(r"<metadata>.*?</metadata>\s*", "", inline, flags=re.DOTALL)
    inline = inline.replace("<svg ", '<svg aria-hidden="true" ', 1)  # its caption and table say it
    for colour, themed in THEMED.items():
        inline = inline.replace(colour, themed)
    return markupsafe.Markup(inline)  # noqa: S704 - our own drawing; matplotlib escapes its text


def _unbroken(text: str) -> str:
    """Keep numbers and their percent signs on one line."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")
