"""Data sets: splits, ranges, subsets, and specs that cannot be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from orchestrator.worker.materialize import Materializer
from prune_core.data import datasets
from prune_core.data.outline import counted_images, outline
from prune_core.data.splits import Split
from prune_core.errors import DatasetError
from prune_core.specs.settings import Dataset
from prune_core.specs.stages import Dense
from results.tables.storage import Storage
from results.tables.store import Tables

from conftest import CPU, dense_stage


def test_digits_are_split_without_overlap_and_stratified(digits: datasets.Dataset) -> None:
    sizes = [len(s) for s in (digits.train, digits.validation, digits.test)]
    assert sizes == [1211, 136, 450]
    images = torch.cat([s.images for s in (digits.train, digits.validation, digits.test)])
    assert len(images.flatten(1).unique(dim=0)) == 1797
    counts = digits.test.labels.bincount(minlength=10)
    assert int(counts.max() - counts.min()) <= 3


def test_images_are_uint8_held_and_floats_in_the_unit_interval_given(
    digits: datasets.Dataset,
) -> None:
    assert digits.train.images.dtype == torch.uint8
    images, labels = digits.train.batch(torch.arange(4))
    assert images.shape == (4, 1, 8, 8)
    assert labels.dtype == torch.int64
    assert float(images.min()) == 0.0
    assert float(images.max()) == 1.0
    assert digits.shape == (1, 8, 8)


def test_statistics_are_those_of_the_training_split(digits: datasets.Dataset) -> None:
    pixels = digits.train.images.double() / 255
    assert digits.mean[0] == pytest.approx(float(pixels.mean()))
    assert digits.std[0] == pytest.approx(float(pixels.std(correction=0)))


def test_the_split_ignores_the_global_seed() -> None:
    splits = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        datasets._load.cache_clear()
        splits.append(datasets.load(Dataset(name="digits"), CPU).test.labels)
    assert torch.equal(*splits)


def test_seeds_share_their_split_unless_each_has_its_own() -> None:
    held_out = {}
    for split in ("shared", "by-seed"):
        spec = Dataset(name="digits", split=split, per_class=30)
        sets = [datasets.load(spec, CPU, seed) for seed in (0, 1, 0)]
        held_out[split] = [{i.numpy().tobytes() for i in d.validation.images} for d in sets]
        assert [d.validation.labels.bincount().tolist() for d in sets] == [[3] * 10] * 3
        assert all(torch.equal(d.test.images, sets[0].test.images) for d in sets)
        everything = [torch.cat([d.train.images, d.validation.images]) for d in sets]
        assert len({frozenset(i.numpy().tobytes() for i in images) for images in everything}) == 1
    shared, own = held_out["shared"], held_out["by-seed"]
    assert shared[0] == shared[1]
    assert own[0] != own[1]
    assert own[0] == own[2]


def test_a_network_is_trained_on_its_own_seed_s_split(storage: Storage) -> None:
    materializer = Materializer(Tables(storage), CPU, ())
    spec = Dataset(name="digits", split="by-seed")
    for seed in (0, 1):
        stage = dense_stage(seed=seed).model_copy(update={"dataset": spec})
        expected = datasets.load(spec, CPU, seed).validation.images
        assert torch.equal(materializer.data(stage).validation.images, expected)


def test_subsets_are_limited_by_class(digits: datasets.Dataset) -> None:
    spec = Dataset(name="digits", per_class=20, test_per_class=7)
    data = datasets._load.__wrapped__(spec, CPU)
    assert data.train.labels.bincount().tolist() == [18] * 10
    assert data.validation.labels.bincount().tolist() == [2] * 10
    assert data.test.labels.bincount().tolist() == [7] * 10
    whole = {image.numpy().tobytes() for image in digits.test.images}
    assert {image.numpy().tobytes() for image in data.test.images} <= whole


def test_a_part_is_on_the_device_of_the_whole() -> None:
    """Positions on a GPU do not index those on the processor; fake tensors have any device."""
    with FakeTensorMode():
        gpu = torch.device("cuda", 0)
        pixels = torch.empty(8, 1, 4, 4, dtype=torch.uint8, device=gpu)
        part = Split(pixels, torch.zeros(8, device=gpu)).take(torch.arange(4, device=gpu))
        assert part.positions is not None
        assert part.positions.device == gpu
        assert part.take(torch.arange(2, device=gpu)).batch(slice(0, 2))[0].device == gpu


def test_the_first_classes_are_taken_alone(digits: datasets.Dataset) -> None:
    spec = Dataset(name="digits", classes=3, per_class=20, test_per_class=7)
    data = datasets._load.__wrapped__(spec, CPU)
    assert data.classes == 3
    assert data.train.labels.bincount().tolist() == [18] * 3
    assert data.test.labels.bincount().tolist() == [7] * 3
    whole = {image.numpy().tobytes() for image in digits.test.images[digits.test.labels < 3]}
    assert {image.numpy().tobytes() for image in data.test.images} <= whole
    few = Dataset(name="cifar10", root="/data", source="torchvision", classes=2)
    assert outline(few)[1] == 2
    assert counted_images(few) == (9_000, 2_000)


@pytest.mark.parametrize("look", [counted_images, outline])
def test_more_classes_than_there_are_are_refused(look: Callable[[Dataset], object]) -> None:
    asked = Dataset(name="cifar10", root="/data", source="torchvision", classes=11)
    with pytest.raises(DatasetError, match=r"cifar10 has 10 classes, .* asks for 11"):
        look(asked)
    with pytest.raises(DatasetError, match="digits has 10 classes"):
        datasets._load.__wrapped__(Dataset(name="digits", classes=11), CPU)


def test_classes_that_are_all_used_change_no_key() -> None:
    def key(**limits: int) -> str:
        dataset = Dataset(name="digits", **limits)
        return Dense(**{**dict(dense_stage()), "dataset": dataset}).key

    assert key() == dense_stage().key
    assert key(classes=9) != key(classes=8)


def test_generated_images_can_be_learned_and_are_the_same_everywhere() -> None:
    data = datasets._load.__wrapped__(Dataset(name="generated"), CPU)
    torch.manual_seed(3)
    again = datasets._load.__wrapped__(Dataset(name="generated", size=8), CPU)
    assert torch.equal(data.train.images, again.train.images)
    assert data.shape == (3, 8, 8)
    centres = torch.stack(
        [data.train.images[data.train.labels == c].float().mean(0) for c in range(10)]
    )
    distances = torch.cdist(data.test.images.float().flatten(1), centres.flatten(1))
    assert float((distances.argmin(1) == data.test.labels).float().mean()) > 0.95


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"name": "cifar10"}, r"needs root .* source \(torchvision or parquet or arrow\)"),
        ({"name": "cifar10", "root": "/x", "source": "folder"}, r"torchvision or parquet or arrow"),
        ({"name": "digits", "root": "/x"}, "is built in"),
        ({"name": "imagefolder"}, r"needs root .* source \(folder\)"),
    ],
)
def test_specs_that_cannot_be(spec: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Dataset(**spec)
    assert Dataset(name="imagefolder", root="/x").source == "folder"
