"""Studies that are committed: their tables still say what their pages say, without torch."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import results

STUDIES = Path(__file__).parents[1] / "studies"
SWEEPS = sorted(STUDIES.glob("*/sweeps/*/sweep.yaml"))


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.parent.name)
def test_every_planned_trial_is_in_the_tables(file: Path) -> None:
    loaded = results.load(str(file.parents[2]), sweep=file.parent.name)
    assert loaded.missing == 0
    assert (loaded.trials["status"] == "done").all()
    assert "/" not in "".join(map(str, loaded.trials["node"]))


@pytest.mark.parametrize(
    ("study", "sweep"),
    [
        ("cifar10-small", "cifar10-first"),
        ("tiny-imagenet-small", "tiny-imagenet-first"),
        ("digits-wide", "digits-wide"),
    ],
)
def test_a_study_says_what_its_tables_say(study: str, sweep: str) -> None:
    page = re.sub(r"[\s>]+", " ", (STUDIES / study / "README.md").read_text(encoding="utf-8"))
    loaded = results.load(str(STUDIES / study), sweep=sweep)
    robust, clean = (
        results.verdict(loaded.trials, metric, evaluations=loaded.evaluations)
        for metric in ("finetuned_pgd_20", "finetuned_clean")
    )
    assert robust.finding in page
    assert clean.finding in page
    assert robust.conditions in page


def test_the_study_of_cifar10_says_what_is_open_among_adversarial_fine_tunings() -> None:
    study = STUDIES / "cifar10-small"
    page = re.sub(r"[\s>]+", " ", (study / "README.md").read_text(encoding="utf-8"))
    loaded = results.load(str(study), sweep="cifar10-wide")
    among = loaded.trials[~loaded.trials["finetuning"].isin(["none", "standard"])]
    found = results.verdict(among, "finetuned_apgd_ce", evaluations=loaded.evaluations)
    assert found.winner == "undecided"
    assert found.finding.partition(" With 5 seeds")[0] in page


@pytest.mark.parametrize(
    ("sweep", "attack"),
    [
        ("cifar10-autoattack", "autoattack"),
        ("cifar10-new-seeds", "apgd_ce"),
        ("cifar10-ratios", "pgd_20"),
    ],
)
def test_the_study_of_cifar10_says_what_its_further_sweeps_decide(sweep: str, attack: str) -> None:
    study = STUDIES / "cifar10-small"
    page = re.sub(r"[\s>]+", " ", (study / "README.md").read_text(encoding="utf-8"))
    loaded = results.load(str(study), sweep=sweep)
    found = results.verdict(loaded.trials, f"finetuned_{attack}", evaluations=loaded.evaluations)
    assert found.finding in page


def test_the_wide_study_says_what_matters_among_adversarial_fine_tunings() -> None:
    study = STUDIES / "digits-wide"
    page = re.sub(r"[\s>]+", " ", (study / "README.md").read_text(encoding="utf-8"))
    loaded = results.load(str(study), sweep="digits-wide")
    among = loaded.trials[loaded.trials["finetuning"].isin(["pgd", "trades", "mart", "awp"])]
    found = results.verdict(among, "finetuned_pgd_20", evaluations=loaded.evaluations)
    assert found.winner == "undecided"
    assert found.finding.partition(" With 50 seeds")[0] in page
    shares = results.decompose(among, "finetuned_pgd_20").set_index("term")["share"]
    told = [f"{100 * shares[name]:.0f} %" for name in ("allocation", "criterion", "finetuning")]
    assert told == ["60 %", "16 %", "14 %"]
    assert "| **60 %** (53 to 64) | 16 % (13 to 20) | 14 % (10 to 20) |" in page


def test_a_study_s_page_is_made_without_torch(tmp_path: Path) -> None:
    file = STUDIES / "cifar10-small" / "sweeps" / "cifar10-first" / "sweep.yaml"
    words = ["report", str(file), "--storage", str(file.parents[2]), "--to", str(tmp_path)]
    code = (
        "import sys; from orchestrator.cli.main import app; "
        f"app({words!r}, standalone_mode=False); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "index.html").exists()
