"""Networks taken away: from outside into a sweep, and out of it into files that others read."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import mrsweep as front
from orchestrator.errors import RequestError
from orchestrator.worker import networks
from prune_core.attacks.evaluation import evaluate
from prune_core.data import datasets
from prune_core.errors import ExportError
from prune_core.exports import files, formats, graphs
from prune_core.exports.filled import filled
from prune_core.exports.latency import measure
from prune_core.models import architectures
from prune_core.models.classifier import Classifier, Normalise
from prune_core.pruning.prunable.cuts import some_of
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.specs.settings import Dataset
from results.tables.storage import Storage
from results.tables.store import Tables

import elsewhere
from command import mrsweep
from conftest import CPU, run_sweep, sweep_text

SWEEP = sweep_text(
    name="outside",
    dataset="{name: digits, per_class: 60, test_per_class: 20}",
    architectures="['elsewhere:build']",
    criteria="[l1]",
    granularities="[channel, weight]",
    finetuning="{short: {objective: standard, epochs: 1, lr: 0.02}}",
    dense="{checkpoint: CHECKPOINT, normalise: none, expect: {clean: 0.99}}",
    seeds="1",
    keep="[dense, prune]",
)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that plain torch trained has gone through a sweep; final networks are not kept."""
    folder = tmp_path_factory.mktemp("outside")
    elsewhere.trained(folder / "mine.pth.tar")
    text = SWEEP.replace("CHECKPOINT", str(folder / "mine.pth.tar"))
    (folder / "outside.yaml").write_text(text)
    run_sweep(text, folder / "runs")
    return folder


def written(swept: Path, to: str, granularity: str, *words: str) -> tuple[Path, str]:
    folder = swept / f"{to}-{granularity}"
    ended = mrsweep(
        "network", swept / "outside.yaml", folder, "--select", f"granularity={granularity}",
        "--to", to, "--storage", swept / "runs", "--verify", *words,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return folder, ended.stdout


def test_a_network_from_outside_goes_in_and_comes_out_for_plain_torch(swept: Path) -> None:
    """The strict load is into the researcher's own class, by a script without mrsweep."""
    _, said = written(swept, "safetensors", "channel", "--masks", "filled")
    assert "Of 200 test images, 0 differ from the row of the evaluation." in said
    program, said = written(swept, "torch-export", "channel")
    assert " 0 differ" in said
    file = swept / "safetensors-channel" / "network.safetensors"
    file.rename(program / "network.safetensors")
    done = subprocess.run(
        [sys.executable, elsewhere.__file__, program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    trial = trial_id(swept, "channel")
    images = elsewhere.digits()[0][:200]
    ours = front.load_network(swept / "runs", trial)(images).argmax(1)
    assert done.stdout.split() == ["".join(map(str, ours.tolist()))] * 2


def test_in_onnxruntime_it_has_the_row_s_accuracy(swept: Path) -> None:
    pytest.importorskip("onnxruntime", reason="an extra")
    folder, said = written(swept, "onnx", "weight")
    assert "Of 200 test images, 0 differ" in said
    test = datasets.load(Dataset(name="digits", per_class=60, test_per_class=20), CPU).test
    predict = graphs.read_onnx(folder / "network.onnx")
    right = [predict(images).argmax(1) == labels for images, labels in test.batches(64)]
    row = Tables(Storage(str(swept / "runs"))).find("trials", trial_id(swept, "weight"))[0]
    assert torch.cat(right).double().mean().item() == pytest.approx(row["finetuned_clean"])


def trial_id(swept: Path, granularity: str) -> str:
    trials = Tables(Storage(str(swept / "runs"))).read("trials")
    return str(trials.set_index("granularity").loc[granularity, "trial_id"])


@pytest.mark.parametrize("stage", ["dense", "pruned", "finetuned"])
def test_a_trial_s_network_gives_the_row_s_accuracy_again(swept: Path, stage: str) -> None:
    """Under attack too; the final network was not kept, and is computed again."""
    storage = Storage(str(swept / "runs"))
    trial = networks.trial_of(storage, trial_id(swept, "channel"))
    network = front.load_network(swept / "runs", trial.key, stage, "cpu")
    row = Tables(storage).find("trials", trial.key)[0]
    data = datasets.load(trial.dense.dataset, CPU)
    for measured in trial.evaluations(networks.network_of(trial, stage)):
        seen = evaluate(network, data.test, measured)
        assert seen.accuracy == row[f"{stage}_{measured.attack}"]
    assert not list((swept / "runs").rglob("checkpoint.safetensors"))


@pytest.mark.parametrize("masks", ["kept", "merged", "filled"])
@pytest.mark.parametrize("granularity", ["channel", "weight"])
def test_a_file_alone_builds_its_network(swept: Path, granularity: str, masks: str) -> None:
    folder, _ = written(swept, "safetensors", granularity, "--masks", masks)
    network, description = files.read(folder / "network.safetensors")
    trial = trial_id(swept, granularity)
    whole = front.load_network(swept / "runs", trial)
    images = elsewhere.digits()[0][:50]
    assert torch.allclose(network(images), whole(images), atol=1e-4 if masks == "filled" else 0)
    assert torch.equal(front.load_network(folder)(images), network(images))
    assert description.row["trial_id"] == trial
    assert description.lineage[description.key]["kind"] == "finetune"
    assert str(swept) not in description.model_dump_json()  # no path of this machine
    tensors = load_file(folder / "network.safetensors")
    assert any(name.endswith(".mask") for name in tensors) == (
        masks == "kept" and granularity == "weight"
    )
    cut = tensors["conv2.weight"].shape[0] < 32
    assert cut == (granularity == "channel" and masks != "filled")


def test_the_folder_for_the_hub_says_what_it_is(swept: Path) -> None:
    folder, _ = written(swept, "hf", "channel")
    assert sorted(f.name for f in folder.iterdir()) == [
        "README.md", "config.json", "model.safetensors",
    ]  # fmt: skip
    card = (folder / "README.md").read_text()
    row = Tables(Storage(str(swept / "runs"))).find("trials", trial_id(swept, "channel"))[0]
    for words in (
        f"{row['finetuned_fgsm']:.2%}", "linf, radius 0.15", "Not attacked by AutoAttack",
        "| criterion | l1 |", row["trial_id"],
    ):  # fmt: skip
        assert words in card, words
    assert json.loads((folder / "config.json").read_text())["architecture"] == "elsewhere:build"
    assert front.load_network(folder)(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


def test_latency_is_measured_with_its_device(swept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prune_core.exports.latency.measure", partial(measure, seconds=0.0))
    _, said = written(swept, "safetensors", "weight", "--latency")
    assert "batch 1: " in said
    assert "batch 128: " in said
    assert ", one core)" in said or "cuda" in said
    found = measure(architectures.build("vgg8", (1, 8, 8), 10, (0,), (1,), 0), (1, 8, 8), 0.0)
    assert [each.batch for each in found] == [1, 128]
    assert all(each.runs == 10 and each.images_per_second > 0 for each in found)


def test_rows_have_latencies_where_they_are_asked_for(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prune_core.exports.latency.measure", partial(measure, seconds=0.0))
    once = {"criteria": "[l1]", "finetuning": "{none: {epochs: 0}}", "seeds": "1"}
    plain = "{attacks: [fgsm], sanity_images: 0}"
    timed = "{attacks: [fgsm], sanity_images: 0, measure: [latency]}"
    for evaluation in (plain, timed):
        run_sweep(sweep_text(**once, evaluation=evaluation), storage.root)
    rows = Tables(storage).read("trials").set_index("finished").sort_index()
    assert rows["latency_1"].isna().tolist() == [True, False]
    measured = rows.iloc[1]
    assert 0 < measured["latency_1"] < measured["latency_128"]
    assert measured["speedup_1"] > 0
    assert 4 * measured["params"] < measured["weight_bytes"] < 4 * measured["params"] + 4000
    assert rows["finetuned_network"].nunique() == 1


def test_a_file_that_is_not_what_the_row_says_is_refused(
    swept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.cli.exports.network.MOST_DIFFERING", -1.0)
    ended = mrsweep("network", swept / "outside.yaml", swept / "x", "--storage", swept / "runs",
                    "--verify", "--select", "granularity=weight")  # fmt: skip
    assert ended.returncode == 2
    assert "is not the network that was evaluated" in ended.stderr


def test_what_is_no_file_of_ours_says_so(swept: Path, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ExportError, match="does not say what network it is of"):
        front.load_network(tmp_path / "other.safetensors")
    with pytest.raises(ExportError, match="cannot be read"):
        front.load_network(tmp_path / "none.safetensors")
    with pytest.raises(RequestError, match=r"no sweep in .* has a trial 'abc'"):
        front.load_network(swept / "runs", "abc")
    with pytest.raises(RequestError, match="no stage 'raw'; there are: dense"):
        front.load_network(swept / "runs", trial_id(swept, "weight"), "raw")


def test_a_full_disk_leaves_nothing_half_written(
    swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, description = files.read(written(swept, "hf", "weight")[0] / "model.safetensors")
    (tmp_path / "model.safetensors").write_text("an older one")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ExportError, match="No space left on device"):
        formats.write(network, description, "hf", tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["model.safetensors"]
    assert (tmp_path / "model.safetensors").read_text() == "an older one"


@pytest.mark.parametrize("name", ["resnet8", "vgg8"])
def test_zeros_in_the_place_of_channels_change_nothing(name: str) -> None:
    shape = (3, 16, 16)
    whole = architectures.build(name, shape, 10, (0.5,) * 3, (0.25,) * 3, 0).eval()
    for layer in whole.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(generator=torch.Generator().manual_seed(1))
            layer.running_var.uniform_(0.5, 2, generator=torch.Generator().manual_seed(2))
    cut = architectures.build(name, shape, 10, (0.5,) * 3, (0.25,) * 3, 0).eval()
    cut.load_state_dict(whole.state_dict())
    view = prunable_view(cut, shape, "channel")
    structure = view.remove(some_of(view, 0.4))
    again = filled(whole, cut, shape, structure)
    assert {n: t.shape for n, t in again.state_dict().items()} == {
        n: t.shape for n, t in whole.state_dict().items()
    }
    images = torch.rand(3, *shape)
    assert torch.allclose(again(images), cut(images), atol=1e-4)
    weights = [p for p in again.parameters() if p.dim() > 1]
    assert sum(int((w == 0).sum()) for w in weights) > sum(w.numel() for w in weights) / 2


def test_zeros_that_a_norm_sees_are_refused() -> None:
    shape = (3, 4, 4)
    layers = [nn.Flatten(), nn.Linear(48, 16), nn.LayerNorm(16), nn.Linear(16, 10)]
    whole = Classifier(Normalise((0.5,) * 3, (0.25,) * 3), nn.Sequential(*layers))
    cut = copy.deepcopy(whole)
    view = prunable_view(cut, shape, "channel")
    structure = view.remove(some_of(view, 0.4))
    with pytest.raises(ExportError, match="layers that normalise over channels see them"):
        filled(whole, cut, shape, structure)


def test_metadata_is_readable_without_mrsweep(swept: Path) -> None:
    folder, _ = written(swept, "safetensors", "channel")
    with safe_open(folder / "network.safetensors", "pt") as opened:
        facts = json.loads(opened.metadata()["mrsweep"])
    assert facts["shape"] == [1, 8, 8]
    assert facts["mean"] == [0.0]
    assert facts["std"] == [1.0]
    assert facts["lineage"][facts["key"]]["training"]["epochs"] == 1
