"""What commands do besides running: begin a file, show and change settings, doctor, failures."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from orchestrator.cli import running
from orchestrator.cli.failures import kind_of
from orchestrator.cli.options import console
from orchestrator.cli.tools import probes
from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import SweepFileError, parse_sweep, read_sweep
from orchestrator.sweepfile.resolved import resolved_text
from orchestrator.sweepfile.shipped import TEMPLATE, shipped_sweeps

from command import mrsweep
from conftest import sweep_text

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(sweep_text())
    return path


def test_init_writes_a_file_that_plans_and_keeps_one_that_is_there(tmp_path: Path) -> None:
    new = tmp_path / "new.yaml"
    assert mrsweep("init", new).returncode == 0
    assert new.read_text() == TEMPLATE.read_text()
    assert "mine: 108 trials" in mrsweep("plan", new, "--storage", tmp_path / "root").stdout
    again = mrsweep("init", new)
    assert again.returncode == 2
    assert "exists" in again.stderr


@pytest.mark.parametrize("name", [*shipped_sweeps(), "template"])
def test_the_config_shown_is_the_same_sweep(name: str) -> None:
    sweep = read_sweep(shipped_sweeps().get(name, TEMPLATE), ["seeds=1"])
    again = parse_sweep(resolved_text(sweep))
    assert set(make_plan(again).jobs) == set(make_plan(sweep).jobs)


def test_show_config_writes_defaults_and_changes(file: Path) -> None:
    text = mrsweep("run", file, "threat.eps=0.1", "--show", "config").stdout
    sweep = parse_sweep(text)
    assert sweep.threat.eps == 0.1
    assert "momentum: 0.9" in text
    assert not (file.parent / "runs").exists()


def test_a_changed_setting_is_shown_run_and_recorded(
    file: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "write_report", lambda *_, changes: None)
    root = tmp_path / "root"
    shutil.copytree(undisturbed, root)
    words = ("--storage", root, "--executor", "inline", "--device", "cpu")
    ran = mrsweep("run", file, "name=less", "criteria=[l1]", *words)
    assert ran.returncode == 0, ran.stderr
    assert "Changed: name=less, criteria=[l1]" in ran.stdout
    assert "less: 4 trials, 4 done before" in ran.stdout
    copy = root / "sweeps/less/sweep.yaml"
    assert copy.read_text().endswith("# Changed by the command: name=less criteria=[l1]\n")
    assert read_sweep(copy).criteria == ("l1",)
    assert "less: 4 trials: 4 done" in mrsweep("status", copy, "--storage", root).stdout


def test_faults_of_changes_name_them(file: Path) -> None:
    bad = mrsweep("plan", file, "seeds=0", "critera=[l1]")
    assert bad.returncode == 2
    assert f"{file} with seeds=0 critera=[l1]:" in bad.stderr
    assert "did you mean 'criteria'?" in bad.stderr
    assert "0 seeds" in bad.stderr
    assert "write key=value" in mrsweep("plan", file, "seeds").stderr


TRACEBACK = """Traceback (most recent call last):
  File "/home/someone/orchestrator/worker/job.py", line 70, in perform
    _do(job, materializer)
  File "/home/me/mine.py", line 12, in score
    return layer.weight.sum(9)
           ^^^^^^^^^^^^^^^^^^^
  File "/venv/lib/python3.11/site-packages/torch/x.py", line 3, in sum
    raise IndexError()
IndexError: Dimension out of range
(got 9)
"""


def test_a_kind_of_failure_is_its_error_and_its_place() -> None:
    kind = kind_of(TRACEBACK)
    assert kind.error == "IndexError: Dimension out of range"
    assert kind.place == "/home/me/mine.py:12 in score"
    assert kind.frames[1] == "/home/me/mine.py:12 in score: return layer.weight.sum(9)"
    hung = kind_of('took more than 3 s, and was here:\n  File "a.py", line 1, in f\n    wait()\n')
    assert (hung.error, hung.place) == ("took more than 3 s, and was here:", "a.py:1 in f")
    assert kind_of("its worker died").place == ""


def test_failures_are_shown_by_kind(undisturbed: Path, tmp_path: Path) -> None:
    root, file = tmp_path / "root", tmp_path / "x.yaml"
    shutil.copytree(undisturbed, root)
    file.write_text(sweep_text(criteria="[l1, 'outside:raises']", seeds="1"))
    changes = ["criteria=[l1,outside:raises]", "name=less"]
    ended = mrsweep("run", file, *changes, "--storage", root, "--executor", "inline")
    why = f"mrsweep failures {file} 'criteria=[l1,outside:raises]' name=less --storage {root}"
    assert why in ended.stdout  # what is in brackets was taken for a style, and left out
    again = mrsweep("failures", file, *changes, "--storage", root).stdout
    assert f"{why.replace('failures', 'run', 1)} --retry-failed" in again
    shown = mrsweep("failures", file, "--storage", root)
    assert shown.returncode == 1
    assert "trials failed: 2" in shown.stdout
    assert "RuntimeError: this criterion is broken" in shown.stdout
    assert "outside.py:" in shown.stdout
    assert "criterion=outside:raises" in shown.stdout
    none = mrsweep("failures", file, "criteria=[l1]", "--storage", root)
    assert (none.returncode, none.stdout) == (0, "tiny: no trial failed\n")


def test_failures_without_a_row_of_their_job(undisturbed: Path, tmp_path: Path) -> None:
    """Rows of jobs may be lost with a machine; what the trials say is left."""
    root, file = tmp_path / "root", tmp_path / "x.yaml"
    shutil.copytree(undisturbed, root)
    file.write_text(sweep_text())
    trials = next((root / "tables/trials").glob("*.parquet"))
    rows = pd.read_parquet(trials)
    first = rows.index == rows.index[0]
    rows["status"] = rows["status"].astype(object).mask(first, "failed")
    rows["error"] = rows["error"].astype(object).mask(first, "its worker died")
    rows.to_parquet(trials)
    shown = mrsweep("failures", file, "--storage", root).stdout
    assert "its worker died\n  trials: 1" in shown


def test_the_doctor_says_what_is_wrong_and_how_to_mend_it(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "cluster", lambda address: f"Ray at {address}")
    well = mrsweep("doctor", file, "--storage", tmp_path / "root", "--device", "cpu")
    assert well.returncode == 0, well.stdout
    for part in ("versions  ok     mrsweep 0.", "device    ok     cpu; ", "/100 images"):
        assert part in well.stdout
    assert not (tmp_path / "root").exists() or not any((tmp_path / "root").iterdir())
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    ill = mrsweep("doctor", "--storage", blocked, "--device", "toaster")
    assert ill.returncode == 1
    assert "storage   wrong" in ill.stdout
    assert "is a file; give a folder" in ill.stdout
    assert "device    wrong" in ill.stdout
    assert "mend" in ill.stdout
    assert "Wrong: device, storage." in ill.stdout


def test_a_missing_package_has_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "NEEDED", ("torch", "no-such-package"))
    with pytest.raises(probes.ProbeError, match="no-such-package") as wrong:
        probes.versions()
    assert wrong.value.mend == "pip install no-such-package"


def test_a_file_that_is_not_there_has_a_hint(tmp_path: Path) -> None:
    """A newcomer types `mrsweep plan demo`."""
    with pytest.raises(SweepFileError, match=r"to write .* here: mrsweep sweeps demo"):
        read_sweep(tmp_path / "demo")
    (tmp_path / "demo.yaml").write_text("name: demo")
    with pytest.raises(SweepFileError, match=r"did you mean .*demo\.yaml\?"):
        read_sweep(tmp_path / "demo")
    with pytest.raises(SweepFileError, match=r"No such file or directory$"):
        read_sweep(tmp_path / "other.yaml")


@pytest.mark.parametrize(
    "words", ["--help", "list criteria", "sweeps", "run --help", "claim --help"]
)
def test_help_fits_a_terminal_of_80_columns(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.cli.tools.commands.console", lambda: Console(width=80))
    said = mrsweep(*words.split()).stdout
    assert max(map(len, said.splitlines())) <= 80


def test_no_color_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    with (shown := console()).capture() as text:
        shown.print("failed", style="red")
    assert "\x1b[31m" not in text.get()


def test_a_crash_of_our_own_is_told_from_failed_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a fault of ours")

    monkeypatch.setattr("orchestrator.cli.tools.catalogue.list_sweeps", broken)
    ended = mrsweep("sweeps")
    assert ended.returncode == 70
    assert "KeyError: 'a fault of ours'" in ended.stderr
    assert "fault of mrsweep itself" in ended.stderr
