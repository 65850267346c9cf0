"""Several data sets in one sweep: a factor like the rest, its trials those of sweeps with one."""

from __future__ import annotations

import io
import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
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
from results.report import front
from results.report.findings import SECTIONS
from results.report.summary import summarise
from results.statistics.design.design import make_design
from results.statistics.design.failures import at_chance
from results.statistics.shares.decomposition import total_gram
from results.statistics.shares.images import image_scatter, pictures_of
from results.tables.load import Loaded
from results.tables.storage import Storage

from conftest import run_sweep, sweep_text
from simulated import simulated

PAIR = ("finetuning", "criterion")
METRIC = "finetuned_pgd_20"
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
        ("digits", "valid dictionary"),
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


def pooled() -> Loaded:
    """A part of the simulated sweep on two data sets: one is harder and has half the images."""
    loaded = simulated()
    few = (loaded.trials["allocation"] == "uniform") & (loaded.trials["sparsity"] == 0.5)
    first = loaded.trials[few].drop(columns=["finetuned_clean", "pruned_clean"])
    named = {column: "other-" + first[column]
             for column in ("trial_id", "dense_network", "pruned_network", "finetuned_network")
             }  # fmt: skip
    outcomes = loaded.evaluations[loaded.evaluations["attack"] == "pgd-20"]
    bits = [np.unpackbits(np.frombuffer(packed, np.uint8))[::2] for packed in outcomes["outcomes"]]
    harder = outcomes.assign(
        network="other-" + outcomes["network"], count=100,
        outcomes=[np.packbits(one).tobytes() for one in bits],
    )  # fmt: skip
    means = dict(zip(harder["network"], (one.mean() for one in bits), strict=True))
    other = first.assign(**named, dataset="other", pruned_pgd_20=first["pruned_pgd_20"] - 0.2)
    other[METRIC] = other["finetuned_network"].map(means)
    trials = pd.concat([first.assign(eps=8 / 255), other.assign(eps=0.15)], ignore_index=True)
    again = {name: frame.assign(network="other-" + frame["network"])
             for name, frame in (("checks", loaded.checks), ("modules", loaded.modules))
             }  # fmt: skip
    loaded.__dict__.update(
        trials=trials.assign(norm="linf"),
        checks=pd.concat([loaded.checks, again["checks"]]),
        modules=pd.concat([loaded.modules, again["modules"]]),
        evaluations=pd.concat([outcomes, harder], ignore_index=True),
    )
    return loaded


@pytest.fixture(scope="module")
def both() -> Loaded:
    return pooled()


def test_how_hard_a_data_set_is_is_no_part_of_the_whole() -> None:
    trials = simulated().trials
    twice = pd.concat([trials, trials.assign(
        dataset="other", **{METRIC: trials[METRIC] - 0.2})])  # fmt: skip
    alone = results.decompose(trials, metric=METRIC).set_index("term")
    together = results.decompose(twice, metric=METRIC).set_index("term")
    assert "dataset" not in together.index
    for term in ("finetuning", "criterion", "criterion:finetuning"):
        assert together.loc[term, "share"] == pytest.approx(alone.loc[term, "share"])
        assert together.loc[f"dataset:{term}" if ":" not in term else term, "share"] == (
            pytest.approx(0 if ":" not in term else alone.loc[term, "share"], abs=1e-12)
        )
    assert results.verdict(twice, METRIC).difference == pytest.approx(
        results.verdict(trials, METRIC).difference
    )


def test_with_holes_too(both: Loaded) -> None:
    trials = both.trials
    gap = (trials["architecture"] == "vgg8") & (trials["criterion"] == "lamp")
    table = results.decompose(trials[~gap], metric=METRIC)
    assert "dataset" not in set(table["term"])
    found = results.verdict(trials[~gap], METRIC)
    assert found.winner == "finetuning"
    assert "cells were run at no seed" in " ".join(found.notes)


def judged(images: dict[str, int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Trials and outcomes of data sets whose images each prefer some levels to others."""
    rng, rows, evaluations = np.random.default_rng(1), [], []
    for name, count in images.items():
        prefer = {level: rng.normal(0, 0.3, count) for level in ("none", "pgd", "l1", "random")}
        for finetuning, criterion, seed in itertools.product(
            ("none", "pgd"), ("l1", "random"), range(4)
        ):
            right = rng.random(count) < 0.5 + prefer[finetuning] + prefer[criterion]
            network = f"{name}-{finetuning}-{criterion}-{seed}"
            rows.append({
                "dataset": name, "finetuning": finetuning, "criterion": criterion, "seed": seed,
                "status": "done", METRIC: right.mean(), "finetuned_network": network,
            })  # fmt: skip
            evaluations.append({
                "network": network, "attack": "pgd-20", "norm": "linf", "count": count,
                "outcomes": np.packbits(right).tobytes(),
            })  # fmt: skip
    return pd.DataFrame(rows), pd.DataFrame(evaluations)


def test_images_of_different_sets_are_independent() -> None:
    """A main effect is the mean of its two halves: a quarter of each one's variance adds up."""
    trials, evaluations = judged({"large": 400, "small": 100})
    scatter = {}
    for name in ("large", "small", "large|small"):
        mine = trials[trials["dataset"].str.fullmatch(name)]
        design = make_design(mine, METRIC)
        pictures = pictures_of(mine, evaluations, METRIC, design)
        scatter[name] = image_scatter(design, pictures, PAIR).noise
    large, small, both = scatter.values()
    assert (large[:2] > 0).all()
    assert (small[:2] > large[:2]).all()
    assert both[:2] == pytest.approx((large[:2] + small[:2]) / 4)
    # The whole is that within the data sets, of which each has half of the cells.
    assert both.sum() == pytest.approx((large.sum() + small.sum()) / 2)


def test_a_data_set_left_out_takes_its_images_along(both: Loaded) -> None:
    found = results.verdict(both.trials, METRIC, evaluations=both.evaluations)
    alone = both.trials[both.trials["dataset"] == "digits"]
    digits = results.verdict(alone, METRIC, evaluations=both.evaluations)
    without = found.without.set_index(["factor", "level"]).loc[("dataset", "other")]
    within = found.within.set_index(["factor", "level"]).loc[("dataset", "digits")]
    for row in (without, within):
        assert row["difference"] == pytest.approx(digits.difference)
        assert row["low"] == pytest.approx(digits.low)
    assert found.images == 300
    assert "This is on digits and other, under linf 8/255 and linf 0.15, " in found.sentence


def test_the_whole_variance_is_that_within_data_sets(both: Loaded) -> None:
    design = make_design(both.trials, METRIC)
    parts = [make_design(both.trials[both.trials["dataset"] == name], METRIC)
             for name in ("digits", "other")]  # fmt: skip
    assert total_gram(design) == pytest.approx(sum(map(total_gram, parts)) / 2)


def test_trials_that_diverged_count_as_chance_on_their_own_data_set(both: Loaded) -> None:
    trials = both.trials.assign(classes=np.where(both.trials["dataset"] == "other", 100, 10))
    trials[METRIC] += 0.1
    bad = trials.groupby("dataset").head(1).index
    trials.loc[bad, "status"] = "failed"
    trials.loc[bad, "error"] = "diverged"
    counted, said = at_chance(trials, METRIC)
    assert counted.loc[bad, METRIC].tolist() == [0.1, 0.01]
    assert said.endswith("(10.0 % on digits, of 10 classes; 1.0 % on other, of 100 classes)")


def test_the_report_answers_over_and_by_data_set(
    both: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"verdict_by_dataset", "pairwise_images", "modules"}
    few = [replace(section, findings=tuple(f for f in section.findings if f.name in wanted))
           for section in SECTIONS]  # fmt: skip
    monkeypatch.setattr("results.report.summary.SECTIONS", few)
    summary = summarise(both)
    assert set(summary.evidence.by_dataset) == {"digits", "other"}
    table = summary.tables["verdict_by_dataset"].set_index(["metric", "dataset"])
    digits = both.trials[both.trials["dataset"] == "digits"]
    alone = results.verdict(digits, METRIC, evaluations=both.evaluations)
    assert table.loc[("PGD-20 accuracy", "digits"), "low"] == pytest.approx(alone.low)
    assert set(summary.tables["pairwise_images"]["dataset"]) == {"digits", "other"}
    assert {"resnet8, digits", "vgg8, other"} <= set(summary.tables["modules"]["architecture"])
    said = front.alone(summary.evidence.by_dataset)
    assert said[0].startswith("On digits alone: The fine-tuning: it explains ")
    run = dict(front.what_was_run(both.trials, METRIC, 300))
    assert run["data sets"] == "digits, other, 300 test images"
    assert run["threat"] == "linf, eps 8/255 on digits; linf, eps 0.15 on other"
    assert "resnet8 on digits" in run["networks"]
