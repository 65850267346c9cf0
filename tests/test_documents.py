"""Documents say what the code does: blocks run or are checked, links lead somewhere.

A block of Python runs, unless the line before says ``<!-- not run -->``; one of YAML is read as
a sweep file, whole or as keys of one; a line that gives ``mrsweep`` is parsed as a command.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import results
from orchestrator.cli.main import app
from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import parse_sweep
from prune_core.specs.plain_yaml import read_yaml
from results.tables.reference import tables_markdown

from conftest import DEMO, TINY
from filled import fill

ROOT = Path(__file__).parents[1]
PAGES = {
    str(file.relative_to(ROOT)): file.read_text()
    for file in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
}
BLOCK = re.compile(r"(<!-- not run -->\n)?^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
AROUND = {**yaml.safe_load(TINY), "dense": {"epochs": 60}}
"""What a sweep file says besides the keys that a page shows."""
NO_COMMANDS = {"python", "yaml", "text", "toml"}


def blocks(page: str, language: str) -> list[str]:
    return [
        text
        for unrun, written, text in BLOCK.findall(PAGES[page])
        if written == language and not unrun
    ]


WITH_PYTHON = [page for page in PAGES if blocks(page, "python")]
FRAGMENTS = [(page, text) for page in PAGES for text in blocks(page, "yaml")]
COMMANDS = [
    (page, line.lstrip("$ "))
    for page, content in PAGES.items()
    for _, language, text in BLOCK.findall(content)
    if language not in NO_COMMANDS
    for line in text.splitlines()
    if re.match(r"(\$ )?mrsweep ", line)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a user works: with the demo in `runs`, as the pages have it."""
    folder = tmp_path_factory.mktemp("documents")
    fill(DEMO, folder / "runs")
    return folder


ANSWERS = {
    "docs/questions.md": "best table shares closed lost curve modules hours",
    "docs/tables.md": "right",
}
"""What must not be empty once a page has run."""


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_the_python_of_a_page_runs(
    page: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Block after block, as one reads it."""
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    for number, text in enumerate(blocks(page, "python")):
        exec(compile(text, f"{page}, block {number}", "exec"), names)  # noqa: S102 - our own page
    for name in ANSWERS.get(page, "").split():
        assert len(names[name]) > 0, name


def test_there_are_ten_questions() -> None:
    assert PAGES["docs/questions.md"].count("\n## ") == 10


@pytest.fixture
def own_methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The methods of the reader's own that pages name, where Python finds them."""
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package/__init__.py").touch()
    (tmp_path / "my_package/scores.py").write_text("def mine(layer): ...")
    own = next(text for text in blocks("docs/how-to.md", "python") if "scores.py" in text)
    (tmp_path / "scores.py").write_text(own)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("own_methods")
@pytest.mark.parametrize(("page", "text"), FRAGMENTS)
def test_what_pages_say_of_sweep_files_is_read(page: str, text: str) -> None:
    given = read_yaml(text)
    assert given.faults == []
    if given.data is not None:
        around = {k: v for k, v in AROUND.items() if k != "dataset" or "datasets" not in given.data}
        sweep = parse_sweep(yaml.safe_dump({**around, **given.data}), page)
        if "checkpoint" not in text:  # a file that is not there
            assert make_plan(sweep).trials


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_commands_of_pages_are_commands(page: str, line: str) -> None:
    _, name, *words = shlex.split(line, comments=True)
    for mark in (">", "|", "&&"):
        words = words[: words.index(mark)] if mark in words else words
    group = typer.main.get_command(app)
    command = group.commands[name]  # type: ignore[attr-defined]  # a group has them
    with group.make_context("mrsweep", [name]) as above:
        assert command.make_context(name, words, parent=above).info_name == name


def anchors(page: str) -> set[str]:
    """Anchors of a page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.*)$", PAGES[page], re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    prose = BLOCK.sub("", PAGES[page])
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(str(file.resolve().relative_to(ROOT))), target


def test_the_site_has_every_page() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    assert set(re.findall(r": (\S+\.md)$", text, re.MULTILINE)) == {
        file.name for file in ROOT.glob("docs/*.md")
    }


def test_the_python_reference_has_all_that_is_offered() -> None:
    named = re.findall(r"^::: \S+\.(\w+)$", PAGES["docs/python.md"], re.MULTILINE)
    assert sorted(named) == sorted(results.__all__)


def test_the_tables_page_is_made_from_the_schema() -> None:
    made = PAGES["docs/tables.md"].partition("mrsweep schema --tables -->\n\n")[2]
    assert made.strip() == tables_markdown().strip()


def test_there_are_examples_for_every_reader() -> None:
    imports = [re.search(r"import (\w+)", text)[1] for text in blocks("docs/tables.md", "python")]  # type: ignore[index]
    assert imports == ["results", "pandas", "duckdb", "numpy"]
