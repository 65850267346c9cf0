"""A method that is tried beside a study: what is run, where it stands, what it may not read."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestrator.errors import RequestError
from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import parse_sweep
from orchestrator.sweepfile.tried import Kind, tried
from prune_core.data.datasets import Dataset
from prune_core.errors import StrayReadError
from prune_core.guard import guarded, watched
from results.errors import AnalysisError
from results.report.published import published_sentence
from results.statistics.levels.standing import standing

from command import mrsweep
from conftest import sweep_text

METRIC = "finetuned_pgd_20"
INLINE = ("--executor", "inline", "--device", "cpu")


def trials(mine: float, spread: float = 0.01) -> pd.DataFrame:
    """Four seeds of a study, and of a criterion whose mean lies above random's."""
    rng = np.random.default_rng(0)
    effects = {"random": 0.0, "l1": 0.02, "taylor": 0.05, "mine": mine}
    return pd.DataFrame([
        {"criterion": criterion, "seed": seed, "sparsity": sparsity, "status": "done",
         "budget": "params", "params_removed": sparsity,
         METRIC: 0.4 + effect + rng.normal(0, spread)}
        for criterion, effect in effects.items() for seed in range(4) for sparsity in (0.5, 0.8)
    ])  # fmt: skip


def beside(rows: pd.DataFrame) -> str:
    return standing(rows, METRIC, "criterion", "mine", (("random", "chance"), ("l1", ""))).sentence


def test_a_standing_is_the_paired_difference_at_each_seed() -> None:
    rows = trials(0.1)
    found = standing(rows, METRIC, "criterion", "mine", (("random", "chance"), ("l1", "")))
    means = 100 * rows.groupby(["criterion", "seed"])[METRIC].mean().unstack(0)
    assert [one.level for one in found.beside] == ["random", "l1", "taylor"]
    for one in found.beside:
        gap = means["mine"] - means[one.level]
        reach = 3.182446 * gap.std() / 2  # Student's t with three degrees of freedom
        assert one[2:5] == pytest.approx((gap.mean(), gap.mean() - reach, gap.mean() + reach))
    assert found.sentence.startswith(
        "On PGD-20 accuracy, over 8 pairs alike in all else at 4 seeds, mine lies 9."
    )
    assert re.search(r"above random \(chance; 95 % interval \d\.\d to \d+\.\d\)", found.sentence)
    assert "above taylor (the study's best; 95 % interval" in found.sentence


def test_one_that_is_chance_is_not_told_from_it_and_one_below_is_so_in_words() -> None:
    said = beside(trials(0.0))
    assert re.search(r"random \(chance; 95 % interval [^)]*: not told apart\)", said)
    assert re.search(r"[45]\.\d points below taylor \(the study's best; 95 % interval \d", said)


def test_budgets_that_differ_are_left_out_and_counted() -> None:
    rows = trials(0.1)
    missed = (rows["criterion"] == "mine") & (rows["sparsity"] == 0.8)
    rows.loc[missed, "params_removed"] -= 0.02
    said = beside(rows)
    assert "over 4 pairs" in said
    assert said.endswith(" Pairs whose budgets differ by over a point are left out: 12.")
    rows.loc[rows["criterion"] == "mine", "params_removed"] = 0.1
    with pytest.raises(AnalysisError, match="no pair of trials with mine is of equal budget"):
        beside(rows)


def test_without_a_trial_there_is_no_standing() -> None:
    rows = trials(0.1)
    rows.loc[rows["criterion"] == "mine", "status"] = "failed"
    with pytest.raises(AnalysisError, match="no trial of criterion mine is done"):
        beside(rows)


def test_published_figures_that_agree_are_beside() -> None:
    rows = pd.DataFrame({
        "status": "done", "norm": "linf", "eps": 8 / 255, "budget": "params", "dataset": "cifar10",
        "classes": 10, "architecture": "apb-resnet18", "granularity": "weight", "sparsity": 0.9,
        "dense": "pgd", "criterion": "mine", "allocation": "uniform", "finetuning": "pgd",
        "seed": [0, 1],
        "finetuned_clean": [0.8, 0.82], "finetuned_autoattack": [0.42, 0.44],
    })  # fmt: skip
    said = published_sentence(rows)
    assert "on cifar10, apb-resnet18 by weight at 90 %: 43.0 % under AutoAttack over 2" in said
    assert "beside FlyingBird 46.5, HARP 45.4, PwoA 45.4" in said
    assert "none is of the same" in published_sentence(rows.assign(eps=0.1))
    assert "none is of the same" in published_sentence(rows.assign(classes=5))


STUDY = parse_sweep(
    sweep_text(
        finetuning="{none: {epochs: 0}, std: {objective: standard, epochs: 2, lr: 0.05}, "
        "adv: {objective: pgd, epochs: 2, lr: 0.05, attack_steps: 3}}",
        exclude="[{criterion: random, finetuning: none}]",
        overrides="[{where: {criterion: l1}, set: {finetuning.lr: 0.5}}, "
        "{where: {seed: 1}, set: {finetuning.lr: 0.2}}]",
    )
)


def test_only_the_new_level_is_run_and_all_else_is_as_it_was() -> None:
    new = tried(STUDY, Kind.criterion, "taylor", (0, 1))
    plan = make_plan(new.sweep)
    assert new.sweep.name == "try-criterion-taylor"
    assert len(plan.trials) == 6
    assert {job.labels["criterion"] for job in plan.trials.values()} == {"taylor"}
    assert len(new.sweep.overrides) == 1  # that of a level which is not there is gone
    dense = {key for key, job in make_plan(STUDY).jobs.items() if job.kind == "dense"}
    assert {key for key, job in plan.jobs.items() if job.kind == "dense"} == dense


def test_an_objective_takes_the_place_of_the_study_s_own() -> None:
    attacking = tried(STUDY, Kind.objective, "trades", (0,))
    assert attacking.levels == ("trades-as-adv",)  # at the compute of what attacks as well
    level = attacking.sweep.finetuning["trades-as-adv"]
    assert (level.objective, level.epochs, level.lr, level.attack_steps) == ("trades", 2, 0.05, 3)
    assert tried(STUDY, Kind.allocation, "erk", (0,)).sweep.allocations == ("erk",)


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        (Kind.criterion, "l1", "the study has criterion 'l1' already"),
        (Kind.criterion, "tailor", "unknown criterion 'tailor'; did you mean 'taylor'?"),
        (Kind.allocation, "uniform", "the study has allocation 'uniform' already"),
        (Kind.objective, "pgd", "the study has objective 'pgd' already: adv"),
        (Kind.objective, "pdg", "unknown objective 'pdg'; did you mean 'pgd'?"),
    ],
)
def test_what_cannot_be_tried(kind: Kind, name: str, words: str) -> None:
    with pytest.raises(RequestError, match=re.escape(words)):
        tried(STUDY, kind, name, (0,))


def reads(*opened: Path) -> int:
    return sum(len(path.read_text()) for path in opened)


def test_a_guard_names_the_file_and_the_line(tmp_path: Path) -> None:
    file, beside_module = tmp_path / "data.csv", Path(__file__).with_name("faults.md")
    file.write_text("1")
    method = watched(reads, "criteria", "mine:reads", (beside_module.name,))
    assert method(file) == 1  # nothing watches
    with guarded():
        assert method() == 0
        method(beside_module)  # declared
        method(Path(__file__), Path("/proc/self/status"))
        with pytest.raises(StrayReadError) as refused:
            method(file)
        assert file.read_text() == "1"  # by somebody else
    line = reads.__code__.co_firstlineno + 1
    assert str(refused.value) == (
        f"criteria: mine:reads reads what it is not given: the file {file} (test_trying.py:{line})"
    )


def looks(data: Dataset) -> int:
    return len(data.test)


def test_a_look_at_test_images_is_refused_where_nothing_else_is_watched(digits: Dataset) -> None:
    assert looks(digits)
    line = looks.__code__.co_firstlineno + 1
    for axis in ("criteria", "objectives"):
        with pytest.raises(StrayReadError) as refused:
            watched(looks, axis, "mine:looks", ())(digits)
        assert str(refused.value) == (
            f"{axis}: mine:looks reads what it is not given: the test images of the data set "
            f"(test_trying.py:{line})"
        )
    assert watched(len, "criteria", "mine:len", ())(digits.train)  # what it is given


def test_what_a_guard_hears_it_hears_of_its_own_methods_alone(tmp_path: Path) -> None:
    """The hook stays, in a process that does other jobs later."""
    file = tmp_path / "data.csv"
    file.write_text("1")
    with guarded():
        watched(reads, "criteria", "mine:reads", ())()
    assert watched(reads, "criteria", "mine:reads", ())(file) == 1


def writes(path: Path) -> None:
    path.write_text("mine")


def starts() -> None:
    subprocess.run([sys.executable, "-c", ""], check=True)


def test_a_guard_lets_write_and_names_where_it_hears_no_more(tmp_path: Path) -> None:
    with guarded():
        watched(writes, "objectives", "mine:writes", ())(tmp_path / "notes")
        with pytest.raises(StrayReadError, match=r"another process \(test_trying.py:\d+\)"):
            watched(starts, "objectives", "mine:starts", ())()


def test_axes_that_read_test_images_by_right_are_not_watched(tmp_path: Path) -> None:
    (tmp_path / "patch.txt").write_text("1")
    with guarded():
        assert watched(reads, "attacks", "mine:reads", ())(tmp_path / "patch.txt") == 1
    assert watched(np.sum, "criteria", "mine:sum", ()) is not np.sum
    assert not callable(watched("text", "criteria", "mine:text", ()))  # which is told elsewhere


def digest(root: Path) -> dict[str, str]:
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in root.rglob("*") if file.is_file()}  # fmt: skip


def test_a_criterion_beside_a_study(undisturbed: Path, tmp_path: Path) -> None:
    before = digest(undisturbed)
    words = ("--study", undisturbed, "--storage", tmp_path / "runs", *INLINE)
    dry = mrsweep("try", "outside:smallest_first", *words, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "To do: 2 dense, 2 scores, 2 prune, 4 trial; device-hours at" in dry.stdout
    assert "2 dense networks are not in" in dry.stdout
    assert not (tmp_path / "runs").exists()
    ran = mrsweep("try", "outside:smallest_first", *words)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    said = " ".join(ran.stdout.split())
    assert "On FGSM accuracy, over 4 pairs alike in all else at 2 seeds, outside:smalle" in said
    assert "random (chance" in said
    assert "Published figures: none" in said
    assert "trained again" not in said.partition("On FGSM")[2]  # to the same networks
    assert digest(undisturbed) == before
    again = mrsweep("try", "outside:smallest_first", *words)
    assert "To do: nothing" in again.stdout
    assert ran.stdout[ran.stdout.index("On FGSM") :] in again.stdout


@pytest.mark.parametrize(
    ("cheat", "what"),
    [("by_signals", "the test images of the data set"), ("by_file", "the file ")],
)
def test_one_that_cheats_is_named(
    cheat: str, what: str, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "labels").write_text("0 1")
    monkeypatch.setenv("MRSWEEP_TEST_MARK", str(tmp_path / "labels"))
    words = ("--study", undisturbed, "--storage", tmp_path / "runs", *INLINE)
    ran = mrsweep("try", f"outside:{cheat}", *words)
    assert ran.returncode == 1
    said = " ".join(ran.stdout.split())
    assert "It has no standing: " in said
    assert f"criteria: outside:{cheat} reads what it is not given: {what}" in said
    assert "outside.py:" in said
    assert "lies" not in said


def test_what_is_no_study_is_said(tmp_path: Path) -> None:
    found = mrsweep("try", "l2", "--study", tmp_path)
    assert found.returncode == 2
    assert "is no study: it has no sweeps/NAME/sweep.yaml" in " ".join(found.stderr.split())
    small = Path(__file__).parents[1] / "studies" / "cifar10-small"
    several = mrsweep("try", "l2", "--study", small)
    names = ", ".join(sorted(folder.name for folder in (small / "sweeps").iterdir()))
    assert f"give --sweep: {names}" in " ".join(several.stderr.split())
