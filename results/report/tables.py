"""The page's tables: which columns are shown, under which headings, in which words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd

from results.report.style import term_name
from results.report.summary import Summary
from results.statistics.words import number, percent
from results.tables.schema import metric_label

Cell = Callable[[pd.Series], str]


@dataclass(frozen=True)
class Shown:
    """A table as text: headings with whether they are left-aligned, and rows."""

    name: str
    caption: str
    headings: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[str, ...], ...]


def shown_tables(summary: Summary) -> Iterator[Shown]:
    """Go through the tables that the data allow."""
    label = metric_label(summary.headline)
    specs: dict[str, tuple[str, list[tuple[str, bool, Cell]]]] = {
        "cost_of_choice": (
            (
                f"What choosing the worst level costs against the best, in points of {label}: one "
                "choice for all cells, and the choice made anew in every cell. Levels are chosen "
                "by the other seeds and judged at the one left out."
            ),
            [
                _text("factor", "factor"),
                _text("best", "best"),
                _text("worst", "worst"),
                *_measured("cost", "cost", ("low", "high"), number),
                *_measured(
                    "anew in every cell", "cost_within", ("within_low", "within_high"), number
                ),
            ],
        ),
        "pairwise": (
            (
                f"Every two levels, paired by cell and seed, in points of {label}. p-values are "
                "corrected by Holm's method; levels are equivalent where both one-sided tests "
                "reject a difference of half a point."
            ),
            [
                *_pair(),
                ("p", False, lambda row: _p(row["p"])),
                ("p, half a point", False, lambda row: _p(row["p_equal"])),
                _text("finding", "finding"),
            ],
        ),
        "pairwise_images": (
            (
                f"The same, image by image ({label}): errors are clustered by seed and by image. "
                "disagree: the share of images on which two networks alike in all else differ."
            ),
            [
                *_pair(),
                ("p", False, lambda row: _p(row["p"])),
                ("disagree", False, lambda row: percent(row["disagree"], 1)),
                _text("finding", "finding"),
            ],
        ),
        "rank_agreement": (
            (
                f"Are criteria ranked alike by {label} at every level of another factor? Mean of "
                "Kendall's tau between levels; 1 is always, 0 not at all. The seed's row is what "
                "single seeds reach with one another."
            ),
            [
                _text("across", "factor"),
                *_measured("tau", "tau", ("low", "high"), lambda value: number(value, 2)),
                ("pairs", False, lambda row: str(row["pairs"])),
            ],
        ),
        "verdict_by_subset": (
            (
                f"Shares of the variance of {label} within each subset; the interval is of the "
                "difference, fine-tuning minus criterion."
            ),
            [
                _text("factor", "factor"),
                _text("level", "level"),
                *[_share(term_name(name), name) for name in ("finetuning", "criterion")],
                _share("interaction", "interaction"),
                *_measured("difference", "difference", ("low", "high"), _percent),
                ("larger", True, lambda row: term_name(row["winner"])),
            ],
        ),
        "adaptive_ratios": (
            (
                "Accuracy points against uniform ratios, paired by cell and seed, where the "
                "achieved budgets are within a point of each other."
            ),
            [
                ("metric", True, lambda row: metric_label(row["metric"])),
                _text("allocation", "allocation"),
                ("within", True, _within),
                *_measured("difference", "mean", ("low", "high"), number),
                ("pairs", False, lambda row: str(row["pairs"])),
            ],
        ),
        "part_means": (
            f"Mean {label} of fine-tuned networks by the parts of fine-tuning, in accuracy points.",
            _means(),
        ),
        "level_means": (f"Mean {label} after fine-tuning, in accuracy points.", _means()),
    }
    for name, (caption, columns) in specs.items():
        if (table := summary.tables.get(name)) is not None:
            yield _shown(name, caption, table, columns)
    for found in summary.verdicts:
        name = f"decomposition_{found.metric}"
        caption = f"Full decomposition of {metric_label(found.metric)}"
        yield _shown(name, caption, summary.tables[name], _decomposition())


def _shown(
    name: str, caption: str, table: pd.DataFrame, columns: list[tuple[str, bool, Cell]]
) -> Shown:
    return Shown(
        name,
        caption,
        tuple((heading, left) for heading, left, _ in columns),
        tuple(tuple(cell(row) for _, _, cell in columns) for _, row in table.iterrows()),
    )


def _decomposition() -> list[tuple[str, bool, Cell]]:
    return [
        ("term", True, lambda row: term_name(row["term"])),
        *_measured("share", "share", ("low", "high"), _percent),
        ("effect (rms, points)", False, lambda row: number(row["points"])),
    ]


def _pair() -> list[tuple[str, bool, Cell]]:
    return [
        _text("factor", "factor"),
        ("levels", True, lambda row: f"{row['first']} less {row['second']}"),
        *_measured("difference", "mean", ("low", "high"), number),
    ]


def _means() -> list[tuple[str, bool, Cell]]:
    return [
        _text("factor", "factor"),
        _text("level", "level"),
        *_measured("mean", "mean", ("low", "high"), number),
        ("trials", False, lambda row: str(row["trials"])),
    ]


def _text(heading: str, column: str) -> tuple[str, bool, Cell]:
    return heading, True, lambda row: term_name(str(row[column]))


def _share(heading: str, column: str) -> tuple[str, bool, Cell]:
    return heading, False, lambda row: _percent(row[column])


def _measured(
    heading: str, column: str, ends: tuple[str, str], words: Callable[[float], str]
) -> list[tuple[str, bool, Cell]]:
    """Return an estimate's column, and its interval's; a dash for one that cannot be given."""

    def interval(row: pd.Series) -> str:
        low, high = (row[name] for name in ends)
        return f"{words(low)} to {words(high)}" if pd.notna(low) else number(float("nan"))

    return [
        (heading, False, lambda row: words(row[column])),
        ("95 % interval", False, interval),
    ]


def _within(row: pd.Series) -> str:
    return "all" if row["factor"] == "all" else f"{term_name(row['factor'])} {row['level']}"


def _percent(share: float) -> str:
    return percent(share, 1)


def _p(value: float) -> str:
    if pd.isna(value):
        return number(value)
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
