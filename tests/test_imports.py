"""The directions of imports, and what starts without torch and ray."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("prune_core", "results", "orchestrator", "mrsweep")
ALLOWED = {
    "prune_core": set(),
    "results": set(),
    "orchestrator": {"prune_core", "results"},
    "mrsweep": {"prune_core", "results", "orchestrator"},
}
ROOMS = {
    "prune_core": [
        {"training", "exports"},
        {"pruning"},
        {"attacks"},
        {"models", "data"},
        {"specs"},
    ],
    "results": [{"publish"}, {"report", "claims"}, {"statistics"}, {"tables"}],
    "orchestrator": [{"cli"}, {"driver"}, {"worker"}, {"state"}, {"planning"}, {"sweepfile"}],
    "mrsweep": [],  # the front door has no rooms behind it
}  # fmt: skip
"""The rooms of each package, floor by floor: a room imports from floors below its own alone."""
INNER = {
    ("prune_core", "pruning"): [{"scores", "ratios"}, {"prunable"}],
    ("results", "statistics"): [{"verdict"}, {"shares"}, {"levels"}, {"design"}],
}
"""The same within the two largest rooms."""
MOST_FILES = 16
FILES = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def modules(file: Path) -> set[str]:
    """The modules that a file imports, anywhere in it, by their full names."""
    named = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            named |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            named |= {f"{node.module}.{name.name}" for name in node.names}
    return named


def imported(file: Path) -> set[str]:
    return {name.partition(".")[0] for name in modules(file)}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_point_one_way(file: Path) -> None:
    package = file.relative_to(ROOT).parts[0]
    others = imported(file) & set(PACKAGES) - {package}
    assert others <= ALLOWED[package]
    if package == "results":
        assert not imported(file) & {"torch", "ray", "torchvision"}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_rooms_import_from_floors_below_their_own(file: Path) -> None:
    package, *rooms = file.relative_to(ROOT).parts[:-1]
    for depth, room in enumerate(rooms, start=1):
        house = (package, *rooms[: depth - 1])
        floors = ROOMS[package] if depth == 1 else INNER.get(house, [])
        own = next((number for number, floor in enumerate(floors) if room in floor), None)
        if own is None:
            continue  # a room that is no house itself has no floors
        parts = [tuple(name.split(".")) for name in modules(file)]
        entered = {p[depth] for p in parts if p[:depth] == house and len(p) > depth}
        assert entered & set().union(*floors) <= set().union({room}, *floors[own + 1 :])


def test_no_folder_has_more_files_than_a_newcomer_can_walk() -> None:
    folders = Counter(file.parent.relative_to(ROOT) for file in FILES)
    assert {folder: n for folder, n in folders.items() if n > MOST_FILES} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_says_in_two_lines_what_lives_there(package: str) -> None:
    for room in set().union(*ROOMS[package]):
        doc = ast.get_docstring(ast.parse((ROOT / package / room / "__init__.py").read_text()))
        assert doc, room
        assert len(doc.split("\n")) <= 3, room


def test_one_room_alone_imports_ray() -> None:
    assert {f.parent.name for f in FILES if "ray" in imported(f)} == {"on_ray"}


LIGHT = """
import sys

def step(statement):
    exec(statement, {})
    loaded = sorted(set(sys.modules) & {"torch", "ray", "torchattacks", "torch_pruning"})
    assert not loaded, (statement, loaded)

step("import results")
step("import mrsweep; mrsweep.load, mrsweep.read_sweep, mrsweep.make_plan, mrsweep.method")
step("import orchestrator.cli.main")
step("from results.report.page import make_report")
step("import orchestrator.cli.claims.verifying, orchestrator.cli.claims.claiming")
step("import orchestrator.cli.rerun.bundling, orchestrator.cli.rerun.reproducing")
step("import orchestrator.cli.rerun.writing")
step("import mrsweep; mrsweep.make_plan(mrsweep.read_sweep('sweeps/demo.yaml'))")
step("from prune_core.specs.registry import AXES; [axis.methods for axis in AXES.values()]")
"""


def test_starts_without_torch_and_ray() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_nothing_executes_or_unpickles_what_it_reads() -> None:
    forbidden = {"eval", "exec", "compile", "pickle"}
    for file in FILES:
        calls = {
            node.func.id
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not (calls | imported(file)) & forbidden, file
