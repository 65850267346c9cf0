"""Verdicts over several data sets, and on each: what is theirs together, and what is not."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import results
from results.report import front
from results.report.findings import SECTIONS
from results.report.summary import summarise
from results.statistics.design.design import make_design
from results.statistics.design.failures import AT_CHANCE, at_chance, together
from results.statistics.shares.decomposition import total_gram
from results.statistics.shares.images import image_scatter, pictures_of
from results.tables.load import Loaded

from simulated import simulated

PAIR = ("finetuning", "criterion")
METRIC = "finetuned_pgd_20"


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
    once = together(["another note", said, said.replace("PGD-20", "clean"), "b"])  # a line each
    assert len(once) == 3
    assert once[2].count("trials that diverged") == 1
    assert once[2].endswith(f"and {said.removeprefix(AT_CHANCE).replace('PGD-20', 'clean')}")


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
    assert said[0].startswith("On digits alone, the fine-tuning explains ")
    run = dict(front.what_was_run(both.trials, METRIC, 300))
    assert run["data sets"] == "digits, other, 300 test images"
    assert run["threat"] == "linf, eps 8/255 on digits; linf, eps 0.15 on other"
    assert "resnet8 on digits" in run["networks"]
