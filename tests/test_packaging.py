"""What users install: the wheel and what is in it, the front door, versions that agree."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from hatchling.build import build_editable, build_wheel
from typer.testing import CliRunner

import mrsweep
import results
from orchestrator.cli.main import app
from orchestrator.sweepfile.shipped import purpose, shipped_sweeps

ROOT = Path(__file__).parents[1]
PACKAGES = ("mrsweep", "orchestrator", "prune_core", "results")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel holds, as pip unpacks it."""
    folder = tmp_path_factory.mktemp("installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        wheel = build_wheel(str(folder))
    zipfile.ZipFile(folder / wheel).extractall(folder)
    return folder


def test_the_wheel_holds_the_code_its_types_and_the_sweep_files(installed: Path) -> None:
    for package in PACKAGES:
        kept = {file.relative_to(installed) for file in (installed / package).rglob("*.py")}
        assert kept == {file.relative_to(ROOT) for file in (ROOT / package).rglob("*.py")}
        assert (installed / package / "py.typed").exists()
    assert list((installed / "results").rglob("report.html.j2"))
    sweeps = {file.name for file in (installed / "orchestrator" / "sweeps").iterdir()}
    assert sweeps == {file.name for file in (ROOT / "sweeps").glob("*.yaml")}
    folders = {file.name for file in installed.iterdir() if file.is_dir()}
    assert folders - {f"mrsweep-{mrsweep.__version__}.dist-info"} == set(PACKAGES)


def command(*words: str, cwd: Path, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(path), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_installed_command_brings_its_sweep_files(installed: Path, tmp_path: Path) -> None:
    copied = command("sweeps", "demo", cwd=tmp_path, path=installed)
    assert copied.returncode == 0, copied.stderr
    assert "mrsweep plan demo.yaml" in copied.stdout
    assert (tmp_path / "demo.yaml").read_bytes() == (ROOT / "sweeps" / "demo.yaml").read_bytes()
    planned = command("plan", "demo.yaml", cwd=tmp_path, path=installed)
    assert planned.returncode == 0, planned.stderr
    assert "demo: 288 trials" in planned.stdout
    again = command("sweeps", "demo", cwd=tmp_path, path=installed)
    assert again.returncode == 2
    assert "demo.yaml exists; rename it, or give another folder by --to" in again.stderr


def test_an_editable_install_is_a_plain_entry_of_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    wheel = zipfile.ZipFile(tmp_path / build_editable(str(tmp_path)))
    names = [name for name in wheel.namelist() if ".dist-info/" not in name]
    assert names == ["_mrsweep.pth"]
    assert wheel.read("_mrsweep.pth").decode() == str(ROOT)


def test_the_front_door_offers_what_results_does_and_the_way_to_a_plan() -> None:
    assert set(results.__all__) <= set(mrsweep.__all__)
    assert mrsweep.verdict is results.verdict
    plan = mrsweep.make_plan(mrsweep.read_sweep(shipped_sweeps()["demo"]))
    assert len(plan.trials) == 288
    assert set(mrsweep.__all__) <= set(dir(mrsweep))
    with pytest.raises(AttributeError, match="module 'mrsweep' has no attribute 'vercict'"):
        _ = mrsweep.vercict


def test_every_shipped_sweep_says_what_it_is() -> None:
    purposes = {name: purpose(file) for name, file in shipped_sweeps().items()}
    assert set(purposes) == {file.stem for file in (ROOT / "sweeps").glob("*.yaml")}
    assert purposes["demo"] == "Does the criterion or the fine-tuning matter more?"
    assert all(text[-1] in ".?" for text in purposes.values())


def test_files_that_name_the_version_agree() -> None:
    assert CliRunner().invoke(app, ["--version"]).output == f"mrsweep {mrsweep.__version__}\n"
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == mrsweep.__version__
    for file in ("Dockerfile", "ray-cluster.yaml", "rayjob.yaml"):
        text = (ROOT / "sweeps" / "cluster" / file).read_text()
        assert f"mrsweep:{mrsweep.__version__}" in text


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-users.lock"])
def test_a_lock_holds_versions_and_digests_alone(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert "--index" not in text
    tools = {"pytest", "mypy", "ruff", "moto", "hatchling"}
    named = {line.partition("==")[0] for line in text.splitlines() if line[0].isalnum()}
    assert {"torch", "ray", "s3fs"} <= named
    assert named & tools == (tools if lock == "requirements.lock" else set())
