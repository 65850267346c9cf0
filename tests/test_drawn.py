"""A report of the same rows by the same code is not drawn again; any other is."""

from __future__ import annotations

import gc
import io
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
from rich.console import Console

from orchestrator.cli.reporting import SELDOM, seldom_collected, write_report
from results.report import drawn
from results.tables.load import Loaded

from simulated import simulated


def other(loaded: Loaded, **tables: object) -> Loaded:
    found = replace(loaded)
    found.__dict__.update({name: getattr(loaded, name) for name in drawn.TABLES} | tables)
    return found


def test_the_order_of_rows_is_no_part_of_what_was_drawn() -> None:
    loaded = simulated()
    shuffled = {name: getattr(loaded, name).sample(frac=1, random_state=1).reset_index(drop=True)
                for name in drawn.TABLES}  # fmt: skip
    assert drawn.digest([loaded], None) == drawn.digest([other(loaded, **shuffled)], None)


@pytest.mark.parametrize(
    ("table", "others"),
    [("trials", 6), ("evaluations", 6), ("checks", 5)],  # two rows of checks may be swapped whole
)
def test_another_value_or_row_anywhere_is_drawn_again(table: str, others: int) -> None:
    loaded = simulated()
    frame = getattr(loaded, table)
    column = next(name for name in frame if frame[name].nunique() > 1)
    first, second = frame[column].drop_duplicates().index[:2]
    changed, swapped = frame.copy(), frame.copy()
    changed.loc[first, column] = frame.loc[second, column]
    swapped.loc[first, column], swapped.loc[second, column] = (
        frame.loc[second, column],
        frame.loc[first, column],
    )
    digests = {
        drawn.digest([loaded], None),
        drawn.digest([other(loaded, **{table: changed})], None),
        drawn.digest([other(loaded, **{table: swapped})], None),
        drawn.digest([other(loaded, **{table: frame.iloc[1:]})], None),
        drawn.digest([loaded], "finetuned_clean"),
        drawn.digest([loaded, loaded], None),
    }
    assert len(digests) == others


def test_edited_code_draws_again(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = simulated()
    before = drawn.digest([loaded], None)
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda file: read(file) + b" ")
    assert drawn.digest([loaded], None) != before


@pytest.mark.usefixtures("undrawn")
def test_a_report_is_drawn_once_and_said_twice(undisturbed: Path, tmp_path: Path) -> None:
    file = next((undisturbed / "sweeps").glob("*/sweep.yaml"))
    to = tmp_path / "out"

    def report(*changes: str) -> str:
        console = Console(record=True, width=1000, file=io.StringIO())
        write_report(file, str(undisturbed), console, None, to, changes=changes)
        return console.export_text()

    first = report()
    assert "its last run" not in first
    page = (to / "index.html").read_bytes()
    with patch("results.report.page.make_report", side_effect=AssertionError("drawn again")):
        assert report() == first
        # The file may plan others by now; it was told of the old ones without a word.
        assert "By the file, and this version, it has 4 trials now, 4 of them the same" in report(
            "seeds=1"
        )
        (to / "index.html").unlink()
        with pytest.raises(AssertionError, match="drawn again"):
            report()
    assert report() == first
    assert (to / "index.html").read_bytes() == page


def test_garbage_is_looked_for_as_before_once_a_report_is_drawn() -> None:
    usual = gc.get_threshold()

    def fails() -> None:
        assert gc.get_threshold()[0] == SELDOM
        assert gc.get_freeze_count()
        raise ValueError("no font")

    with pytest.raises(ValueError, match="no font"):
        seldom_collected()(fails)()
    assert gc.get_threshold() == usual
    assert not gc.get_freeze_count()
