"""Files of the user's that are called as our packages are: none of them may break anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from conftest import sweep_text

ROOT = Path(__file__).parents[1]
BROKEN = "raise RuntimeError('this is no part of mrsweep')\n"


def python(*words: str, cwd: Path, path: str = str(ROOT)) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )


def shadow(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(BROKEN)


@pytest.mark.parametrize("names", [("results.py", "queue.py"), ("results/notes.txt",)])
def test_the_command_starts_beside_a_file_of_any_name(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    shadow(tmp_path, *names)
    (tmp_path / "tiny.yaml").write_text(sweep_text())
    done = python("-m", "orchestrator", "plan", "tiny.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "tiny: 8 trials" in done.stdout


def test_a_run_and_its_report_are_not_disturbed(tmp_path: Path) -> None:
    """Neither the workers, nor this process where it does the work itself."""
    shadow(tmp_path, "results.py", "prune_core.py", "orchestrator/__init__.py", "mrsweep.py")
    (tmp_path / "mine.py").write_text("def biggest(layer):\n    return layer.weight.amax(1)\n")
    # As the command that pip installs does it: without the working folder in front.
    start = "import sys; sys.path.remove(''); from orchestrator.__main__ import main; main()"
    for executor, seeds in (("ray", 1), ("inline", 2)):
        none = "{none: {epochs: 0}}"  # a report of few figures
        text = sweep_text(criteria="['mine:biggest']", finetuning=none, seeds=str(seeds))
        (tmp_path / "tiny.yaml").write_text(text)
        words = ("run", "tiny.yaml", "--executor", executor, "--device", "cpu", "--workers", "1")
        done = python("-c", start, *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr + done.stdout
        assert "Report:" in done.stdout
        trials = pd.read_parquet(tmp_path / "runs" / "tables" / "trials")
        assert trials["status"].tolist() == ["done"] * seeds
    again = python("-c", start, "report", "tiny.yaml", cwd=tmp_path)
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    "names", [("results.py", "orchestrator.py", "prune_core.py"), ("results/__init__.py",)]
)
def test_the_front_door_opens_beside_a_file_of_any_name(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    shadow(tmp_path, *names)
    code = "import mrsweep; mrsweep.read_sweep, mrsweep.load; print(mrsweep.decompose.__module__)"
    done = python("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "results.statistics.shares.decomposition"


def test_a_module_that_has_taken_the_name_is_said(tmp_path: Path) -> None:
    (tmp_path / "results.py").write_text("mine = 1\n")
    done = python("-c", "import results, mrsweep; results.mine; mrsweep.load", cwd=tmp_path)
    assert done.returncode == 1
    *_, last = done.stderr.strip().splitlines()
    assert last.startswith(f"ImportError: {tmp_path / 'results.py'} is imported as 'results'")
    assert last.endswith("rename the file or folder")


def test_a_package_hidden_by_the_path_is_said_with_what_to_do(tmp_path: Path) -> None:
    shadow(tmp_path, "theirs/results.py")
    path = os.pathsep.join([str(tmp_path / "theirs"), str(ROOT)])
    done = python("-m", "orchestrator", "plan", "tiny.yaml", cwd=tmp_path, path=path)
    assert done.returncode == 2
    assert f"{tmp_path / 'theirs' / 'results.py'} hides mrsweep's own package" in done.stderr
    assert "take its folder off PYTHONPATH" in done.stderr
    assert "Traceback" not in done.stderr
