"""Several data sets in one sweep: a factor like the rest, its trials those of sweeps with one."""

from __future__ import annotations

import io
import itertools
import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from rich.console import Console

import results
from orchestrator.cli.checks import check_methods
from orchestrator.cli.request import open_sweep, tell_content
from orchestrator.driver.executors import record_plan
from orchestrator.errors import RequestError
from orchestrator.planning.estimates import rates
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.sweepfile.claim import read_claim
from orchestrator.sweepfile.model import SweepFileError, parse_sweep
from orchestrator.sweepfile.resolved import resolved_text
from prune_core.specs.stages import dense_of
from results.tables.storage import Storage

from conftest import run_sweep, sweep_text

TWO = "{digits: {name: digits, per_class: 12, test_per_class: 2}, patterns: generated}"


def text(datasets: str = TWO, **changes: str) -> str:
    return "\n".join(
        f"datasets: {datasets}" if line.startswith("dataset:") else line
        for line in sweep_text(**changes).splitlines()
    )


def plan_of(datasets: str = TWO, **changes: str) -> Plan:
    return make_plan(parse_sweep(text(datasets, **changes)))


def test_trials_are_those_of_sweeps_with_one_data_set() -> None:
    both = plan_of()
    for name, spec in (("digits", "{name: digits, per_class: 12, test_per_class: 2}"),
                       ("patterns", "generated")):  # fmt: skip
        alone = make_plan(parse_sweep(sweep_text(dataset=spec)))
        mine = {key for key, job in both.trials.items() if job.labels["dataset"] == name}
        assert mine == set(alone.trials)
        assert set(alone.jobs) < set(both.jobs)


def test_a_list_is_called_by_the_names_of_its_sets() -> None:
    listed = parse_sweep(text("[digits, {name: generated, size: 12}]"))
    assert list(listed.datasets) == ["digits", "generated"]
    assert listed == parse_sweep(text("{digits: digits, generated: {name: generated, size: 12}}"))


@pytest.mark.parametrize(
    ("datasets", "words"),
    [
        ("[digits, digitz]", "unknown dataset 'digitz'; did you mean"),
        ("[digits, digits]", "repeated: digits; to have one in several forms, give each a name"),
        ("{a: digits, b: {name: digits}}", "'b' and 'a' say the same"),
        ("{name: digits, per_class: 4}", "for one, give dataset"),
        ("[]", "missing: give dataset for one, or datasets for several"),
        ("[{name: cifar10}]", "datasets.cifar10: data set 'cifar10' needs root"),
        ("digits", "valid mapping"),
    ],
)
def test_faults_of_data_sets(datasets: str, words: str) -> None:
    with pytest.raises(SweepFileError) as caught:
        parse_sweep(text(datasets), "file.yaml")
    assert any(f.startswith("file.yaml:2: ") and words in f for f in caught.value.faults)


def test_one_or_several_not_both() -> None:
    with pytest.raises(SweepFileError, match="12: datasets: give dataset for one, or datasets"):
        parse_sweep(sweep_text(datasets="[digits]"))


def test_threat_and_evaluation_may_differ_by_data_set() -> None:
    rule = "[{where: {dataset: digits}, set: {threat.eps: 0.3, evaluation.attacks: [pgd-3]}}]"
    plan = plan_of(overrides=rule, finetuning="{pgd: {objective: pgd, epochs: 1, lr: 0.1}}",
                   dense="{objective: pgd, epochs: 2}")  # fmt: skip
    for job in plan.jobs.values():
        of_digits = dense_of(job.stage).dataset.name == "digits"
        threats = {getattr(job.stage, "threat", None), job.threat} - {None}
        assert {threat.eps for threat in threats} == ({0.3} if of_digits else {0.15})
    attacks = {job.labels["dataset"]: job.attacks for job in plan.trials.values()}
    assert attacks == {"digits": ("pgd-3",), "patterns": ("fgsm",)}
    assert plan.sweep.attacks == ("fgsm", "pgd-3")


@pytest.mark.parametrize(
    ("where", "setting", "words"),
    [
        ("criterion: l1", "threat.eps: 0.1", "threat.eps may differ between data sets alone"),
        ("dataset: digits, seed: 0", "threat.eps: 0.1", "may differ between data sets alone"),
        ("dataset: digits", "threat.eps: 2", "under linf it is at most 1"),
        ("dataset: digits", "evaluation.attacks: [pgd]", "did you mean 'pgd-<k>'?"),
        ("dataset: digit", "threat.eps: 0.1", "dataset has no level 'digit'; did you mean"),
    ],
)
def test_faults_of_overrides_by_data_set(where: str, setting: str, words: str) -> None:
    with pytest.raises(SweepFileError, match=re.escape(words)):
        parse_sweep(text(overrides=f"[{{where: {{{where}}}, set: {{{setting}}}}}]"))


def test_the_sweep_written_out_is_the_same_sweep() -> None:
    plan = plan_of(overrides="[{where: {dataset: digits}, set: {evaluation.attacks: [pgd-3]}}]")
    written = resolved_text(plan.sweep)
    assert "dataset" not in yaml.safe_load(written), written
    assert set(make_plan(parse_sweep(written)).trials) == set(plan.trials)


def test_jobs_are_estimated_by_those_on_the_same_images() -> None:
    plan = plan_of()
    dense = {job.stage.dataset.name: job for job in plan.jobs.values() if job.kind == "dense"}
    rows = [{"key": job.key, "kind": "dense", "architecture": "resnet8", "status": "done",
             "resumed_epoch": 0, "seconds": seconds, "device": "cpu", "accelerator": None,
             "end": pd.Timestamp("2026-01-01", tz="UTC"), "images": 1000, "work": 1.0}
            for job, seconds in zip(dense.values(), (10.0, 90.0), strict=True)]  # fmt: skip
    rate = rates(pd.DataFrame(rows), plan)
    assert [rate(job).seconds for job in dense.values()] == pytest.approx([10, 90])


def test_a_run_has_rows_of_every_data_set_and_says_what_images_are(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    sweep = text(seeds="[0]", criteria="[random]", finetuning="{none: {epochs: 0}}",
                 dense="{epochs: 1}",
                 overrides="[{where: {dataset: digits}, set: {threat.eps: 0.3}}]")  # fmt: skip
    run_sweep(sweep, root)
    tables = results.load(str(root), sweep="tiny")
    assert (tables.trials["status"] == "done").all()
    assert dict(zip(tables.trials["dataset"], tables.trials["eps"], strict=True)) == {
        "digits": 0.3, "patterns": 0.15,
    }  # fmt: skip
    assert results.outcomes(tables).groupby("trial_id")["image"].max().nunique() == 2


def test_a_claim_may_be_of_one_data_set(tmp_path: Path) -> None:
    sweep, claim = tmp_path / "sweep.yaml", tmp_path / "beats.yaml"
    sweep.write_text(text())
    said = f"""claim: l1 beats random on digits
contrast: {{criterion: [l1, random]}}
metric: finetuned_fgsm
where: {{dataset: digits}}
seeds: 3
sweep: {sweep}
"""
    claim.write_text(said)
    trials = make_plan(read_claim(claim).cells(3)).trials.values()
    assert {job.labels["dataset"] for job in trials} == {"digits"}
    claim.write_text(said.replace("dataset: digits", "dataset: digit"))
    with pytest.raises(SweepFileError, match="dataset has no level 'digit'; did you mean 'digits'"):
        read_claim(claim)


def folders(tmp_path: Path) -> str:
    from PIL import Image

    for name, shade in (("one", 40), ("two", 90)):
        for label, image in itertools.product(("cat", "dog"), range(3)):
            folder = tmp_path / name / "train" / label
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (shade + image, 10, 20 * image)).save(folder / f"{image}.png")
    return (f"{{one: {{name: imagefolder, root: {tmp_path / 'one'}, size: 8}}, "
            f"two: {{name: imagefolder, root: {tmp_path / 'two'}, size: 8}}}}")  # fmt: skip


def test_each_set_s_files_are_told_and_those_that_are_not_here_are_named(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(text(folders(tmp_path)))
    said = io.StringIO()
    tell_content(file, Console(file=said, width=200))
    plan, _ = open_sweep(file, str(tmp_path / "runs"))
    told = {name: data.content for name, data in plan.sweep.datasets.items()}
    assert len(set(told.values())) == 2
    assert said.getvalue() == "".join(f"{name}: content: '{of}'\n" for name, of in told.items())
    missing = text(
        f"{{digits: digits, x: {{name: imagefolder, root: {tmp_path / 'no'}, size: 8}}}}"
    )
    with pytest.raises(RequestError, match=r"datasets\.x\.root '.*/no' is not a folder"):
        check_methods(make_plan(parse_sweep(missing)), None, Console(quiet=True))


def test_what_images_are_is_written_down_for_machines_without_them(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(text(folders(tmp_path)))
    plan, root = open_sweep(file, str(tmp_path / "runs"))
    record_plan(plan, root, file.read_text(), {"one": ("cat", "dog")})
    record = json.loads(Storage(str(tmp_path / "runs")).read("sweeps", "tiny", "data.json"))
    assert record["one"]["classes"] == ["cat", "dog"]
    (tmp_path / "one").rename(tmp_path / "gone")
    again, _ = open_sweep(file, str(tmp_path / "runs"))
    assert set(again.trials) == set(plan.trials)
