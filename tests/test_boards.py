"""Submissions to leaderboards: what is one, what is not and why, and what is written."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import results
from orchestrator.worker import networks
from prune_core.data import datasets
from prune_core.models import architectures
from prune_core.models.checkpoints import read_weights
from results.errors import AnalysisError
from results.report.boards import ROBUSTBENCH, pruning_submission, robustbench_entries
from results.report.figures.published import published_figure
from results.report.published import beside
from results.tables.storage import Storage
from results.tables.store import Tables

from command import mrsweep
from conftest import CPU, blank, sweep_text

KEY = "AP_Me2026Title"


def tables(**changes: object) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Rows of a submission: one network by weight at three sparsities; and its other tables."""
    rows = [
        {
            "trial_id": f"t{sparsity}", "status": "done", "dataset": "cifar10",
            "architecture": "apb-resnet18", "dense": "dense", "criterion": "l1",
            "allocation": "uniform", "granularity": "weight", "finetuning": "pgd", "seed": 0,
            "sparsity": sparsity, "budget": "params", "norm": "linf", "eps": 0.031,
            "finetuned_network": f"n{sparsity}", "finetuned_clean": 0.8123456,
            "finetuned_autoattack": 0.45, "params_removed": sparsity, "shortfall": None,
            "flags": None,
        }
        for sparsity in (0.9, 0.95, 0.99)
    ]  # fmt: skip
    trials = pd.DataFrame(rows).assign(**changes)
    nets = trials["finetuned_network"]
    evaluations = pd.DataFrame(
        {"network": nets, "attack": "autoattack", "count": 10_000, "distances": None}
    )
    return trials, evaluations, pd.DataFrame({"network": nets, "check": "iterated"})


def test_a_submission_has_the_benchmark_s_keys() -> None:
    models = pruning_submission(*tables(), KEY)
    assert list(models["model_key"]) == [f"{KEY}_R18_CIFAR10_US_{s}" for s in (90, 95, 99)]
    assert list(models["clean"]) == [81.23] * 3
    by_channel = tables(granularity="channel", sparsity=[0.5, 0.75, 0.9], dataset="svhn",
                        architecture="apb-vgg16")  # fmt: skip
    assert pruning_submission(*by_channel, KEY)["model_key"].iloc[0] == f"{KEY}_V16_SVHN_S_50"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"architecture": "resnet8"}, "architecture resnet8; it takes apb-resnet18 and apb-vgg16"),
        ({"dataset": "digits"}, "dataset digits; it takes cifar10 and svhn"),
        ({"granularity": "2:4"}, "granularity 2:4; it takes weight and channel"),
        ({"budget": "macs"}, "budget macs; it takes params"),
        ({"sparsity": [0.37, 0.95, 0.99]}, "has 37, 95, 99 %; it takes all of 90, 95, 99 %"),
        ({"shortfall": ["short", None, None]}, "1 networks miss their sparsity"),
        ({"eps": 8 / 255}, "threat linf 0.0313725; it takes linf 0.031"),
        ({"norm": "l2"}, "threat l2 0.031"),
        ({"flags": ["black-box", None, None]}, "checks against false robustness failed: black-box"),
        ({"status": ["failed", "done", "done"]}, "1 of its trials are not done"),
        ({"seed": [0, 1, 2]}, "several of seed (0, 1, 2): select one"),
        ({"criterion": ["l1", "l1", "lamp"]}, "several of criterion (l1, lamp)"),
        ({"finetuned_autoattack": None}, "every network needs autoattack"),
    ],
)
def test_what_is_no_submission_is_refused_with_the_reason(
    changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(AnalysisError) as refused:
        pruning_submission(*tables(**changes), KEY)
    assert reason in str(refused.value)
    assert str(refused.value).count(";") <= 1  # one reason, where one thing is wrong


def test_all_reasons_are_said_at_once() -> None:
    trials, evaluations, checks = tables(eps=0.1, dataset="digits")
    with pytest.raises(AnalysisError) as refused:
        pruning_submission(trials, evaluations.assign(count=500), checks[:0], KEY)
    for reason in ("500 test images, fewer than 10000", "not checked for false robustness",
                   "dataset digits", "linf 0.1"):  # fmt: skip
        assert reason in str(refused.value)


def test_entries_of_robustbench_have_its_fields_and_nothing_made_up() -> None:
    entry = robustbench_entries(*tables(eps=8 / 255))[0]
    assert tuple(entry) == ROBUSTBENCH
    assert (entry["eps"], entry["clean_acc"], entry["autoattack_acc"]) == (
        "8/255",
        "81.23",
        "45.00",
    )
    assert [field for field in ROBUSTBENCH if entry[field] is None] == [
        "link", "name", "authors", "additional_data", "venue", "reported",
    ]  # fmt: skip
    with pytest.raises(AnalysisError, match="cifar10 under linf is for eps 8/255"):
        robustbench_entries(*tables())
    with pytest.raises(AnalysisError, match="svhn under linf; it takes cifar10 under linf"):
        robustbench_entries(*tables(dataset="svhn"))


def test_the_base_models_names_are_theirs() -> None:
    """As the benchmark's own files have them (models/base_resnet18.py and base_vgg16.py)."""
    with torch.device("meta"):
        for name, count, some in (
            ("apb-resnet18", 122, ("conv1.weight", "layer2.0.shortcut.1.running_var",
                                   "layer4.1.bn2.bias", "linear.bias")),
            ("apb-vgg16", 84, ("features.0.weight", "features.41.running_mean",
                               "classifier.0.weight", "classifier.4.bias")),
        ):  # fmt: skip
            network = architectures.build(name, (3, 32, 32), 10, (0,) * 3, (1,) * 3, 0).network
            assert len(network.state_dict()) == count
            assert set(some) <= set(network.state_dict())


def test_distances_of_ho_fmn_go_along_where_they_were_measured() -> None:
    trials, evaluations, checks = tables()
    near, far = np.float32(0.03), np.float32(math.inf)
    measured = pd.DataFrame({
        "network": trials["finetuned_network"][:1], "attack": "ho-fmn-32", "count": 4,
        "distances": [np.array([0, near, 0.05, far], "<f4").tobytes()],
    })  # fmt: skip
    models = pruning_submission(trials, pd.concat([evaluations, measured]), checks, KEY)
    assert models["hofmn"].tolist() == pytest.approx([50.0, math.nan, math.nan], nan_ok=True)
    assert [each is None for each in models["distances"]] == [False, True, True]


def test_a_network_is_written_in_its_dense_shape(undisturbed: Path, tmp_path: Path) -> None:
    storage = Storage(str(undisturbed))
    trials = Tables(storage).read("trials")
    key = trials.loc[trials["finetuning"] == "standard", "trial_id"].iloc[0]
    trial = networks.trial_of(storage, key)
    networks.export_for_benchmark(storage, trial, tmp_path / f"{KEY}.pt")
    held = torch.load(tmp_path / f"{KEY}.pt", weights_only=True)
    assert list(held) == ["state_dict"]
    pruned = networks.load_network(undisturbed, key, device="cpu")
    data = datasets.load(trial.dense.dataset, CPU)
    network = blank(data)
    network.network.load_state_dict(read_weights(tmp_path / f"{KEY}.pt"), strict=True)
    images = data.test.batch(slice(0, 30))[0]
    assert torch.allclose(network(images), pruned(images), atol=1e-4)


def test_a_submission_is_a_folder(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a sweep that is none: what the benchmark asks for is left out of the way."""
    models = pd.DataFrame({"model_key": [f"{KEY}_R18_CIFAR10_S_50"], "clean": [81.23],
                           "autoattack": [45.0], "removed": [50.01], "hofmn": [43.21],
                           "distances": [np.float32([0, 0.25, math.inf]).tobytes()]})  # fmt: skip

    def taken(trials: pd.DataFrame, *_: object) -> pd.DataFrame:
        return models.assign(trial_id=list(trials["trial_id"])[:1])

    monkeypatch.setattr("orchestrator.cli.exports.boards.pruning_submission", taken)
    file = tmp_path / "tiny.yaml"
    file.write_text(sweep_text())
    words = ("export", file, "--storage", undisturbed, "--to", tmp_path / "out",
             "--select", "criterion=l1,finetuning=standard,seed=0")  # fmt: skip
    done = mrsweep(*words, "--format", "apb", "--key", KEY)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    name = f"{KEY}_R18_CIFAR10_S_50"
    assert names == [f"{name}.pickle", f"{name}.pt", "entry.json", "issue.md"]
    with (tmp_path / "out" / f"{name}.pickle").open("rb") as file:
        assert pickle.load(file) == [0, 0.25, math.inf]  # noqa: S301 - as the benchmark reads it
    entry = json.loads((tmp_path / "out" / "entry.json").read_text())[0]
    assert entry["ap_key"] == KEY
    assert entry["A: Finetuning"] == "Natural Training (NT)"
    assert entry["Pruning criterion"] == "Lowest Weight Magnitude LWM"
    assert entry["link_to_paper"].startswith("OPEN")
    issue = (tmp_path / "out" / "issue.md").read_text()
    assert "_Robust Accuracy (AA):_ 45.00" in issue
    assert "_Robust Accuracy (HO-FMN):_ 43.21" in issue
    assert "All models need normalization" in issue
    models = models.assign(distances=None, hofmn=None)
    assert mrsweep(*words, "--format", "apb", "--key", KEY).returncode == 0
    issue = (tmp_path / "out" / "issue.md").read_text()
    assert "_Robust Accuracy (HO-FMN):_ OPEN: to be filled in; evaluate ho-fmn-32" in issue
    bad = mrsweep(*words, "--format", "apb", "--key", "mine")
    assert "keys are NAME_AuthorYearWord" in bad.stderr
    bad = mrsweep(*words, "--format", "robustbench")
    assert bad.returncode == 2
    assert "no entry of RobustBench: every network needs autoattack" in bad.stderr


def test_a_full_disk_leaves_no_half_of_a_submission(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last file does not fit: those that were written before it are gone, too."""

    def taken(trials: pd.DataFrame, *_: object) -> list[dict[str, object]]:
        return [{"eps": 0.1, "architecture": "r", "clean_acc": 1, "autoattack_acc": 1}] * len(
            trials
        )

    def full(file: Path, text: str) -> None:
        if file.name == "issue.md":
            raise OSError(28, "No space left on device")
        file.write_text(text)

    monkeypatch.setattr("orchestrator.cli.exports.boards.robustbench_entries", taken)
    file = tmp_path / "tiny.yaml"
    file.write_text(sweep_text())
    words = ("export", file, "--storage", undisturbed, "--format", "robustbench")
    assert mrsweep(*words, "--to", tmp_path / "whole").returncode == 0
    entries = [json.loads(f.read_text()) for f in (tmp_path / "whole").glob("*.json")]
    assert [entry["additional_data"] for entry in entries] == [False] * 8
    assert "**Additional data**: No" in (tmp_path / "whole" / "issue.md").read_text()
    monkeypatch.setattr("orchestrator.cli.exports.boards._write", full)
    ended = mrsweep(*words, "--to", tmp_path / "out")
    assert ended.returncode == 2
    assert "No space left on device" in ended.stderr
    assert not list((tmp_path / "out").iterdir())


# What is published.


def test_published_figures_are_theirs_and_say_what_they_lack() -> None:
    table = results.published()
    assert len(table) == 137
    hydra = table[(table["method"] == "HYDRA") & (table["architecture"] == "apb-resnet18")]
    assert hydra.set_index(["dataset", "sparsity"]).loc[("cifar10", 0.99), "autoattack"] == 0.388
    assert set(table["seeds"]) == {1}
    assert table["note"].str.contains("no table there gives a spread over seeds").all()
    assert set(table["method"]) >= {"HARP", "R-ADMM", "PwoA", "MAD", "RobustBird", "TwinRep",
                                    "FlyingBird", "RST (no fine-tuning)"}  # fmt: skip
    assert table["clean"].gt(table["autoattack"]).all()


def test_ours_are_beside_them_only_where_all_agrees() -> None:
    trials, _, _ = tables()
    several = pd.concat([
        trials.assign(classes=10, seed=seed, finetuned_autoattack=0.4 + seed / 100, criterion=name)
        for seed in range(3) for name in ("l1", "random")
    ])  # fmt: skip
    several.loc[several["criterion"] == "random", "finetuned_autoattack"] = 0.1
    rows = beside(several)
    assert set(rows["architecture"]) == {"apb-resnet18"}
    assert set(rows["sparsity"]) == {0.9, 0.95, 0.99}
    assert rows["ours_autoattack"].tolist() == pytest.approx([0.41] * len(rows))
    assert rows["ours_sd"].tolist() == pytest.approx([0.01] * len(rows))
    assert set(rows["ours"]) == {"l1 + uniform + dense + pgd"}
    assert set(rows["ours_of"]) == {2}
    assert published_figure(rows).axes
    for change in (
        {"architecture": "resnet18"}, {"eps": 0.1}, {"budget": "macs"}, {"dataset": "digits"},
        {"status": "failed"}, {"classes": 5}, {"granularity": "2:4"},
    ):  # fmt: skip
        assert beside(several.assign(**change)).empty
    assert beside(several.drop(columns="finetuned_autoattack")).empty
