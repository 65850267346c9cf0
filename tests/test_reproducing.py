"""A bundle done again somewhere else: the same, within tolerance and why, or different."""

from __future__ import annotations

import math
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import results
from orchestrator.cli.rerun import contents
from orchestrator.cli.rerun.comparing import Compared, compared
from orchestrator.cli.rerun.opened import Bundle
from orchestrator.cli.rerun.reproducing import _reasons
from orchestrator.worker.provenance import provenance
from prune_core.specs.stages import Trial
from results.tables.log import arrow

from bundled import OWN, other_way, reproduce, trial, with_trials

pytestmark = pytest.mark.usefixtures("alone")


def test_a_bundle_is_done_again_to_the_bit_elsewhere(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a zip, in a folder that has none of the code; the trial is drawn."""
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("it.zip", "w") as archive:
        for file in (file for file in made.rglob("*") if file.is_file()):
            archive.write(file, f"it/{file.relative_to(made)}")
    ended = reproduce(tmp_path / "it.zip", "--seed", "3")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "(drawn at seed 3 of 12)" in ended.stdout
    assert "rows of it are the same to the bit." in ended.stdout
    assert ended.stdout.rstrip().endswith("Bit-identical.")
    assert Path.cwd() == tmp_path


def test_tables_that_were_changed_are_told(made: Path, tmp_path: Path) -> None:
    """By their digest; and by images, verdict and trial where the digest was changed too."""
    key = trial(made)
    changed = with_trials(made, tmp_path / "out", key, True, finetuned_clean=-0.05)
    ended = reproduce(changed, "--trial", key)
    assert ended.returncode == 1
    assert "Files are those that were bundled." in ended.stdout
    assert f"differs: trials {key}: finetuned_clean" in ended.stdout
    assert "differs: verdicts.finetuned_clean.difference.0: the bundle has" in ended.stdout
    assert "Its accuracies are off by 5.00 points at most." in ended.stdout


@pytest.mark.usefixtures("unjudged")
def test_files_that_were_changed_are_told(made: Path, tmp_path: Path) -> None:
    changed = other_way(made, tmp_path / "out", "code/half.py", b"")
    (changed / "tables" / "jobs" / contents.TABLE).unlink()
    (changed / "README.md").write_text("else")
    ended = reproduce(changed, "--verdict-only")
    assert ended.returncode == 1
    assert "README.md is not the file that was bundled" in ended.stdout
    assert "tables/jobs/000001.parquet is not there" in ended.stdout


@pytest.mark.usefixtures("unjudged")
def test_what_other_trials_measure_of_a_network_on_the_path_is_theirs(
    made: Path, tmp_path: Path
) -> None:
    trials = results.load(str(made), sweep="tiny").trials.set_index("trial_id")
    key = trials.index[trials["finetuning"] == "short"][0]
    check = {"key": "other", "network": trials.loc[key, "pruned_network"], "check": "iterated"}
    checks = contents.packed(arrow("checks", [check]))
    bundle = other_way(made, tmp_path / "out", f"tables/checks/{contents.TABLE}", checks)
    ended = reproduce(bundle, "--trial", key)
    assert ended.returncode == 0, ended.stdout


@pytest.mark.usefixtures("unjudged")
@pytest.mark.parametrize(("machine", "code"), [({"processor": "Another"}, 3), ({}, 1)])
def test_numbers_are_within_tolerance_where_something_is_known_that_may_be_why(
    made: Path, tmp_path: Path, machine: dict[str, str], code: int
) -> None:
    key = trial(made)
    ended = reproduce(with_trials(made, tmp_path / "a", key, params=1, **machine), "--trial", key)
    assert ended.returncode == code, ended.stdout
    assert ("may be why: processor is" in ended.stdout) == (code == 3)
    last = "Within tolerance, not to the bit." if code == 3 else "Different."
    assert ended.stdout.rstrip().endswith(last)


@pytest.mark.usefixtures("unjudged")
def test_other_code_is_told(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = OWN.replace("halved(", "2 * halved(").encode()
    changed = other_way(made, tmp_path / "out", "code/owned.py", own)
    ended = reproduce(changed, "--trial", trial(made, "owned:mine"))
    assert ended.returncode == 1
    assert "criteria owned:mine has other code than the bundle's keys know" in ended.stdout
    monkeypatch.setattr(Trial, "version", Trial.version + 1)
    ended = reproduce(changed, "--trial", trial(made))
    assert ended.returncode == 1
    assert "this code gives trial" in ended.stdout


@pytest.mark.usefixtures("unjudged")
def test_modules_of_other_folders_are_not_taken_for_the_bundle_s(
    made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = ModuleType("half")
    other.__file__ = str(tmp_path / "half.py")
    monkeypatch.setitem(sys.modules, "half", other)
    ended = reproduce(made)
    assert ended.returncode == 2
    assert "half of other folders are imported already" in ended.stderr


@pytest.mark.usefixtures("unjudged")
def test_what_is_no_bundle_is_refused(made: Path, tmp_path: Path) -> None:
    (tmp_path / "no.zip").write_text("no zip")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "bundle.json").write_text('{"bundle": 1, "sweep": "tiny"}')
    for path in (tmp_path, tmp_path / "no.zip", tmp_path / "none", tmp_path / "half"):
        ended = reproduce(path)
        assert ended.returncode == 2
        assert "bundle" in ended.stderr
    assert "has no trial x" in reproduce(made, "--trial", "x").stderr


def test_what_is_another_here_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = {**provenance("cpu"), "accelerator": "A GPU", "torch": "9", "commit": "c"}
    monkeypatch.setattr("orchestrator.worker.provenance.provenance", lambda _: here)
    record = {"lock": {"rows": {"torch": ["8"]}, "installed": {"numpy": "0", "torch": "8"}}}
    row = {**here, "accelerator": None, "torch": "8", "commit": math.nan}
    assert list(_reasons(Bundle(tmp_path, record), row, "cuda")) == [
        "torch is 9 here, and was 8",
        "accelerator is A GPU here, and was none",
        f"numpy is {np.__version__} here, and was 0 where it was bundled",
    ]


def test_values_are_compared_to_the_bit() -> None:
    row = {"trial_id": "t", "finetuned_clean": 0.5, "node": "a", "kept_units": None}
    module = {"network": "n", "module": "m", "kept": b"\x80", "ratio": math.nan}
    said = {"trials": [row], "modules": [module]}
    assert compared(said, {"trials": [{**row, "node": "b"}], "modules": [dict(module)]}, {}) == (
        Compared(2, [], [], 0.0)
    )
    found = {"trials": [{**row, "finetuned_clean": 0.52}], "modules": []}
    result = compared(said, found, {"finetuned_clean": 0.03})
    assert result.beyond == []
    assert result.apart == [
        "modules n m: only in the bundle",
        "trials t, finetuned_clean: 0.5 in the bundle, 0.52 computed",
    ]
    assert compared(said, found, {}).beyond == ["finetuned_clean is off by 2.00 points"]
    other = {"trials": [row], "modules": [{**module, "kept": b"\x01"}]}
    assert compared(said, other, {}).apart == ["modules n m, kept: 2 bits are others"]
