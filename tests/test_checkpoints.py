"""Networks from outside: files of weights that a sweep starts from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import SweepFileError, parse_sweep
from prune_core.data import datasets
from prune_core.errors import CheckpointError
from prune_core.models import checkpoints
from prune_core.models.classifier import Classifier, Normalise
from prune_core.specs.checkpoints import Checkpoint, located
from prune_core.specs.keys import file_digest
from prune_core.specs.recipes import Training
from prune_core.specs.stages import Dense
from prune_core.training.history import Checkpoint as Epochs
from prune_core.training.loop import fit
from results.tables.storage import Storage
from results.tables.store import Tables

from command import mrsweep
from conftest import blank, keeping, run_sweep, sweep_text


class Plain:
    """Something that only code can read."""


def tensors(network: nn.Module) -> dict[str, torch.Tensor]:
    assert isinstance(network, Classifier)
    return dict(network.network.state_dict())


def wrapped(weights: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in weights.items()}


@pytest.mark.parametrize(
    ("held", "prefix"),
    [
        (lambda weights: weights, ""),
        (lambda weights: {"state_dict": weights, "epoch": 3}, "module."),
        (lambda weights: {"net": weights, "acc": 0.8}, "module.model."),
        (lambda weights: {"model": weights, "optimizer": {"lr": 0.1}}, "_orig_mod."),
        (lambda weights: {"n_averaged": torch.tensor(3), **weights}, "module."),
    ],
)
def test_weights_are_found_wherever_trainings_put_them(
    digits: datasets.Dataset, tmp_path: Path, held: object, prefix: str
) -> None:
    source, target = blank(digits, seed=1), blank(digits, seed=2)
    torch.save(held(wrapped(tensors(source), prefix)), tmp_path / "weights.pt")
    weights = checkpoints.read_weights(tmp_path / "weights.pt")
    checkpoints.load_weights(target.network, weights, "weights.pt")
    assert all(torch.equal(a, tensors(target)[n]) for n, a in tensors(source).items())


def test_a_file_that_needs_code_is_refused_with_a_way_out(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1)}, "args": Plain()}, tmp_path / "all.pt")
    with pytest.raises(CheckpointError, match=r"would run code \(\S+Plain\); .*torch.save"):
        checkpoints.read_weights(tmp_path / "all.pt")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "no file of weights"), (b"hello world", "no file of weights")],
)
def test_what_is_no_file_of_weights_is_said_to_be_none(
    tmp_path: Path, content: bytes, words: str
) -> None:
    for name in ("a.pt", "a.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=words):
            checkpoints.read_weights(tmp_path / name)
    torch.save({"epoch": 3, "lr": 0.1}, tmp_path / "b.pt")
    with pytest.raises(CheckpointError, match=r"holds no weights .* it holds: epoch, lr"):
        checkpoints.read_weights(tmp_path / "b.pt")


def test_a_mismatch_lists_the_first_names_of_both_sides_and_shapes(
    digits: datasets.Dataset,
) -> None:
    network = blank(digits)
    given = tensors(network)
    given["classifier.weight"] = torch.zeros(7, 64)
    given["head.weight"] = given.pop("classifier.bias")
    with pytest.raises(CheckpointError) as refused:
        checkpoints.load_weights(network.network, given, "f.pt")
    assert str(refused.value) == (
        "f.pt is of another network: the file lacks classifier.bias; it has besides head.weight; "
        "shapes differ classifier.weight [7, 64] in the file, [10, 64] here"
    )
    others = {f"layer{i}.weight": torch.zeros(1) for i in range(9)}
    with pytest.raises(CheckpointError, match=r"it has besides layer0.* and 4 more"):
        checkpoints.load_weights(network.network, others, "f.pt")


ODD = {
    "nan": (lambda t: t * float("nan"), r"640 of 640 are not finite"),
    "infinite": (lambda t: t.index_fill(0, torch.tensor(3), torch.inf), "64 of 640 are not finite"),
    "integers": (lambda t: (100 * t).to(torch.int8), "int8, where the network has float32"),
    "complex": (lambda t: t.to(torch.complex64), "complex64, where the network has float32"),
    "sparse": (lambda t: t.to_sparse(), "sparse or quantized"),
    "meta": (lambda t: t.to("meta"), "without data"),
}


@pytest.mark.parametrize("what", ODD)
def test_what_are_no_finite_floats_is_refused_by_its_name(
    what: str, digits: datasets.Dataset
) -> None:
    """Integers were taken as they are, and a network that is not finite was pruned."""
    change, words = ODD[what]
    network = blank(digits)
    given = tensors(network)
    before = given["classifier.weight"].clone()
    odd = {**given, "classifier.weight": change(before)}
    with pytest.raises(
        CheckpointError, match=rf"no weights: classifier\.weight \({words}\); write"
    ):
        checkpoints.load_weights(network.network, odd, "f.pt")
    assert torch.equal(network.network.state_dict()["classifier.weight"], before)
    half = {name: t.half() if t.is_floating_point() else t for name, t in given.items()}
    checkpoints.load_weights(network.network, half, "f.pt")


def test_of_two_sets_of_weights_the_one_that_is_read_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = {"w": torch.ones(1)}, {"w": torch.zeros(1)}
    torch.save({"state_dict": one, "state_dict_ema": other, "optimizer": {}}, tmp_path / "a.pt")
    assert checkpoints.read_weights(tmp_path / "a.pt")["w"] == 1
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith("weights under state_dict are read, and not ['state_dict_ema']")
    torch.save({**one, "epoch": 3}, tmp_path / "b.pt")
    with pytest.raises(CheckpointError, match="it holds: 1 tensors, and besides epoch"):
        checkpoints.read_weights(tmp_path / "b.pt")


def test_files_from_before_batches_were_counted_load(digits: datasets.Dataset) -> None:
    network = blank(digits)
    old = {n: t for n, t in tensors(network).items() if not n.endswith("num_batches_tracked")}
    checkpoints.load_weights(network.network, old, "f.pt")


def test_what_a_file_has_besides_may_be_left_out(digits: datasets.Dataset) -> None:
    """Such as the auxiliary classifiers of a GoogLeNet, which a network without them lacks."""
    source, target = blank(digits, seed=1), blank(digits, seed=2)
    given = {**tensors(source), "aux.fc.weight": torch.zeros(1000, 64)}
    checkpoints.load_weights(target.network, given, "f.pt", ("aux", "conv.weight"))
    assert not torch.equal(tensors(target)["conv.weight"], tensors(source)["conv.weight"])
    checkpoints.load_weights(target.network, given, "f.pt", ("aux",))
    assert torch.equal(tensors(target)["conv.weight"], tensors(source)["conv.weight"])


class Versioned(nn.Sequential):
    """As torchvision's MNASNet: it wants to know of which version of its code weights are."""

    _version = 2

    def _load_from_state_dict(self, state, prefix, local_metadata, *rest):  # type: ignore[no-untyped-def]  # torch's
        if local_metadata.get("version") != 2:
            raise ValueError("version should be set")
        super()._load_from_state_dict(state, prefix, local_metadata, *rest)


@pytest.mark.parametrize("averaging", ["none", "swa"])
def test_networks_that_ask_for_a_version_are_trained_and_loaded(
    averaging: str, digits: datasets.Dataset, tmp_path: Path
) -> None:
    def made() -> Classifier:
        return Classifier(Normalise((0.3,), (0.4,)), Versioned(nn.Flatten(), nn.Linear(64, 10)))

    network, again = made(), made()
    recipe = Training(objective="standard", epochs=2, averaging=averaging, swa_start=0.1)
    saved: list[Epochs] = []
    fit(network, digits, recipe.resolved(), None, "key", on_epoch=keeping(saved))
    fit(again, digits, recipe.resolved(), None, "key", saved[0])
    assert all(torch.equal(a, tensors(network)[n]) for n, a in tensors(again).items())
    save_file(tensors(network), tmp_path / "weights.safetensors")
    weights = checkpoints.read_weights(tmp_path / "weights.safetensors")
    checkpoints.load_weights(made().network, weights, "weights.safetensors")


def test_densenets_of_torchvision_load_under_their_older_names() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.conv2 = nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1)

    network = nn.ModuleDict({"denselayer1": Layer()})
    state = network.state_dict()
    older = {n.replace("norm1", "norm.1").replace("conv2", "conv.2"): t for n, t in state.items()}
    assert not set(older) & set(state)
    checkpoints.load_weights(network, older, "densenet.pth")
    # A network of the user's that has such names has them still.
    own = nn.ModuleDict({"denselayer1": nn.ModuleDict({"norm": nn.Sequential(nn.Linear(2, 2))})})
    checkpoints.load_weights(own, own.state_dict(), "own.pth")


# Sweeps that start from files.


@pytest.fixture
def weights(trained: nn.Module, tmp_path: Path) -> Path:
    save_file(tensors(trained), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def dense_of(**dense: object) -> list[Dense]:
    written = ", ".join(f"{name}: {value}" for name, value in dense.items())
    plan = make_plan(parse_sweep(sweep_text(dense=f"{{{written}}}")))
    return [job.stage for job in plan.jobs.values() if isinstance(job.stage, Dense)]


def test_a_key_is_of_the_file_s_bytes_and_not_of_its_place(weights: Path) -> None:
    given = {"checkpoint": weights, "normalise": "dataset"}
    first = dense_of(**given)[0]
    elsewhere = weights.parent / "elsewhere.safetensors"
    shutil.copy(weights, elsewhere)
    moved = dense_of(**{**given, "checkpoint": elsewhere, "expect": "{clean: .5}"})[0]
    assert moved.key == first.key
    assert dense_of(**{**given, "normalise": "none"})[0].key != first.key
    assert dense_of(**given, epochs=1)[0].key != first.key
    assert dense_of(**given, fresh="[classifier]")[0].key != first.key
    save_file({"a": torch.zeros(1)}, elsewhere)
    assert dense_of(**{**given, "checkpoint": elsewhere})[0].key != first.key


def test_a_file_for_each_seed_and_architecture(weights: Path) -> None:
    for seed in (0, 1):
        shutil.copy(weights, weights.parent / f"resnet8-{seed}.safetensors")
    name = f'"{weights.parent}/{{architecture}}-{{seed}}.safetensors"'
    files = [stage.checkpoint.file for stage in dense_of(checkpoint=name, normalise="none")]
    assert [Path(file).name for file in files] == ["resnet8-0.safetensors", "resnet8-1.safetensors"]
    (weights.parent / "resnet8-1.safetensors").unlink()
    with pytest.raises(SweepFileError, match=r"no file .*resnet8-1\.safetensors"):
        dense_of(checkpoint=name, normalise="none")


@pytest.mark.parametrize(
    ("dense", "words"),
    [
        ({"checkpoint": "/none/f.pt"}, "checkpoint needs normalise"),
        ({"checkpoint": "/none/f.pt", "normalise": "none"}, "no file /none/f.pt"),
        ({"checkpoint": '"/none/{sed}.pt"', "normalise": "none"}, "unknown {sed}"),
        ({"epochs": 1, "expect": "{clean: .8}"}, "expect is of a checkpoint"),
        ({"epochs": 1, "fresh": "[fc]"}, "fresh is of a checkpoint"),
        ({"objective": "standard"}, "epochs: missing"),
        ({"epochs": 1, "normalise": "{mean: [0.1], std: [1, 1]}"}, "1 means and 2 stds"),
    ],
)
def test_what_is_asked_wrongly_of_a_dense_network(dense: dict[str, object], words: str) -> None:
    with pytest.raises(SweepFileError, match=words):
        dense_of(**dense)


def test_the_hub_s_files_are_fetched_by_repository_file_and_revision(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[object, ...]] = []

    def download(repository: str, file: str, revision: str | None) -> str:
        asked.append((repository, file, revision))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert located("hf-hub:me/net") == tmp_path
    located("hf-hub:me/net@v1/best/weights.pt")
    located("timm:resnet18.a1_in1k")
    assert asked == [
        ("me/net", "model.safetensors", None),
        ("me/net", "best/weights.pt", "v1"),
        ("timm/resnet18.a1_in1k", "model.safetensors", None),
    ]


def test_torchvision_s_weights_are_where_torchvision_keeps_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    fetched: list[str] = []

    def download(url: str, file: str, hash_prefix: str, progress: bool) -> None:
        fetched.append(f"{url} {hash_prefix} {progress}")
        save_file({"a": torch.ones(1)}, file)

    monkeypatch.setattr("torch.hub.download_url_to_file", download)
    name = "torchvision:MNASNet0_5_Weights.IMAGENET1K_V1"
    assert located(name) == located(name)
    assert located(name).parent == tmp_path / "hub" / "checkpoints"
    url = "https://download.pytorch.org/models/mnasnet0.5_top1_67.823-3ffadce67e.pth"
    assert fetched == [f"{url} 3ffadce67e False"]

    def offline(*_: object, **__: object) -> None:
        raise RuntimeError("invalid hash value")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(OSError, match=r"resnet18-f37072fd.pth: invalid hash"):
        located("torchvision:ResNet18_Weights.IMAGENET1K_V1")
    for wrong in ("ResNet18", "ResNet18_Weights.NONE", "resnet18"):
        with pytest.raises(OSError, match="torchvision has no weights"):
            located(f"torchvision:{wrong}")


def test_a_classifier_of_other_classes_stays_as_it_was(
    digits: datasets.Dataset, tmp_path: Path
) -> None:
    """Whatever the file has under its name, or has not."""
    source, target = blank(digits, seed=1), blank(digits, seed=2)
    was = {name: tensor.clone() for name, tensor in tensors(target).items()}
    held = {**tensors(source), "classifier.weight": torch.zeros(1000, 64)}
    file = tmp_path / "weights.safetensors"
    save_file(held, file)
    given = {"file": str(file), "content": file_digest(file)}
    with pytest.raises(CheckpointError, match=r"shapes differ classifier\.weight \[1000, 64\]"):
        checkpoints.start(target, Checkpoint(**given))
    checkpoints.start(target, Checkpoint(**given, fresh=("classifier",)))
    now = tensors(target)
    assert torch.equal(now["classifier.weight"], was["classifier.weight"])
    assert torch.equal(now["conv.weight"], held["conv.weight"])
    with pytest.raises(CheckpointError, match="fresh fc: neither network nor file has such"):
        checkpoints.start(target, Checkpoint(**given, fresh=("classifier", "fc")))


def test_a_sweep_starts_from_the_file_and_trains_on_where_epochs_say_so(
    weights: Path, trained: nn.Module, digits: datasets.Dataset, storage: Storage
) -> None:
    given = f"checkpoint: {weights}, normalise: dataset"
    dense = f"{{as: {{{given}}}, further: {{{given}, epochs: 1, lr: 0.05}}}}"
    text = sweep_text(
        dataset="digits",
        dense=dense,
        criteria="[l1]",
        finetuning="{none: {epochs: 0}}",
        evaluation="{attacks: [fgsm], sanity_images: 0}",
        seeds="1",
    )
    run_sweep(text, storage.root)
    with torch.no_grad():
        clean = trained(digits.test.batch(torch.arange(len(digits.test)))[0]).argmax(1)
    known = (clean == digits.test.labels).double().mean().item()
    trials = Tables(storage).read("trials").set_index("dense")
    assert set(trials["status"]) == {"done"}
    assert trials["checkpoint"].nunique() == 1
    assert trials.loc["as", "dense_clean"] == pytest.approx(known, abs=1e-9)
    assert trials.loc["further", "dense_clean"] != trials.loc["as", "dense_clean"]


def checked(tmp_path: Path, dense: str) -> str:
    file = tmp_path / "sweep.yaml"
    file.write_text(sweep_text(dataset="digits", dense=dense, criteria="[l1]", seeds="1"))
    ended = mrsweep("run", file, "--storage", tmp_path / "root", "--dry-run")
    return "" if ended.returncode == 0 else ended.stderr


def test_another_accuracy_than_expected_is_refused_before_anything_runs(
    weights: Path, tmp_path: Path
) -> None:
    right = f"checkpoint: {weights}, normalise: dataset"
    assert checked(tmp_path, f"{{{right}}}") == ""
    refused = checked(tmp_path, f"{{{right}, expect: {{clean: .5}}}}")
    assert "test images rightly, and expect.clean is 50.0%" in refused
    twice = f"{{checkpoint: {weights}, normalise: none, expect: {{clean: .95}}}}"
    assert "is normalise what it was trained with" in checked(tmp_path, twice)


def test_a_file_of_another_network_is_refused_before_anything_runs(
    weights: Path, tmp_path: Path
) -> None:
    save_file({"conv1.weight": torch.zeros(1)}, weights)
    dense = f"{{checkpoint: {weights}, normalise: none}}"
    assert "is of another network: the file lacks conv.weight" in checked(tmp_path, dense)
    dense = "{epochs: 1, normalise: {mean: [0, 0, 0], std: [1, 1, 1]}}"
    assert "constants for 3 channels; images have 1" in checked(tmp_path, dense)


def test_a_worker_with_another_file_refuses(weights: Path, digits: datasets.Dataset) -> None:
    stage = dense_of(checkpoint=weights, normalise="dataset")[0]
    save_file({"a": torch.zeros(1)}, weights)
    with pytest.raises(CheckpointError, match="and the plan is for"):
        checkpoints.start(blank(digits), stage.checkpoint)
