"""The directions of imports, and what starts without torch and ray."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("prune_core", "results", "orchestrator")
ALLOWED = {"prune_core": set(), "results": set(), "orchestrator": {"prune_core", "results"}}
FILES = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def imported(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_point_one_way(file: Path) -> None:
    package = file.relative_to(ROOT).parts[0]
    others = imported(file) & set(PACKAGES) - {package}
    assert others <= ALLOWED[package]
    if package == "results":
        assert not imported(file) & {"torch", "ray", "torchvision"}


def test_one_file_alone_imports_ray() -> None:
    assert [f.name for f in FILES if "ray" in imported(f)] == ["ray_executor.py"]


HEAVY = """
import sys
{statement}
loaded = sorted(set(sys.modules) & {{"torch", "ray", "torchattacks", "torch_pruning"}})
assert not loaded, loaded
"""


@pytest.mark.parametrize(
    "statement",
    [
        "import results",
        "import orchestrator.cli",
        "from results.report import make_report",
        """from orchestrator.plan import make_plan
from orchestrator.sweepfile import read_sweep
make_plan(read_sweep('sweeps/demo.yaml'))""",
        "from prune_core.registry import AXES; [axis.methods for axis in AXES.values()]",
    ],
)
def test_starts_without_torch_and_ray(statement: str) -> None:
    code = HEAVY.format(statement=statement)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
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
