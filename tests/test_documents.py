"""Documents say what the code does: examples run, and what is generated is up to date."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from results.tables.schema import tables_markdown

from conftest import run_sweep, sweep_text

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "tables.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a user works: with the demo in `runs`, as the pages have it."""
    folder = tmp_path_factory.mktemp("documents")
    shutil.copytree(undisturbed, folder / "runs")
    run_sweep(sweep_text(name="demo", seeds="1"), folder / "runs")
    return folder


def test_the_tables_page_is_made_from_the_schema() -> None:
    assert PAGE.partition("mrsweep schema --tables -->\n\n")[2].strip() == tables_markdown().strip()


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_runs(number: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    exec(compile(EXAMPLES[number], f"example {number}", "exec"), names)  # noqa: S102 - our own page
    if "right" in names:
        assert len(names["right"]) > 0  # type: ignore[arg-type]  # it is an array


def test_there_are_examples_for_every_reader() -> None:
    assert [re.search(r"import (\w+)", text)[1] for text in EXAMPLES] == [  # type: ignore[index]
        "results", "pandas", "duckdb", "numpy",
    ]  # fmt: skip
