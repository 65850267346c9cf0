"""Data sets: splits, ranges, real files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from prune_core import datasets
from prune_core.specs import Dataset

from conftest import CPU

CIFAR = Path(__file__).parents[2] / "shared" / "data" / "cifar10"


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


@pytest.mark.skipif(not CIFAR.exists(), reason="CIFAR-10 as Parquet is not beside the project")
def test_cifar10_from_parquet() -> None:
    test = datasets._from_parquet(CIFAR, "test")
    assert test.images.shape == (10_000, 3, 32, 32)
    assert test.labels.bincount().tolist() == [1000] * 10


def test_a_missing_data_set_says_what_to_do(tmp_path: Path) -> None:
    for source, words in (("parquet", r"no train\*.parquet in"), ("torchvision", "fetch it once")):
        with pytest.raises(datasets.DatasetError, match=words):
            datasets.cifar10(str(tmp_path), source)


def test_a_damaged_data_set_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(datasets.DatasetError, match=r"train.parquet in .* cannot be read"):
        datasets.cifar10(str(tmp_path), "parquet")
