"""Augmentation: every image is one of its own shifts, mirrored or not, and both happen."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from prune_core.data import datasets
from prune_core.data.augmentation import flip_and_shift, named, nothing
from prune_core.errors import DatasetError
from prune_core.specs.settings import Dataset

from conftest import CPU


def test_an_image_is_mirrored_half_the_time_and_shifted_by_what_pads_it() -> None:
    image = torch.arange(1.0, 13.0).view(1, 1, 3, 4)
    drawn = flip_and_shift(image.expand(4000, 1, 3, 4), torch.Generator().manual_seed(0), pad=1)
    possible = {
        tuple(F.pad(seen, (1, 1, 1, 1))[0, 0, y : y + 3, x : x + 4].flatten().tolist()): mirrored
        for mirrored, seen in ((False, image), (True, image.flip(3)))
        for y in range(3)
        for x in range(3)
    }
    assert len(possible) == 18
    seen = [tuple(one.flatten().tolist()) for one in drawn]
    assert set(seen) == set(possible)
    share = sum(possible[one] for one in seen) / len(seen)
    assert abs(share - 0.5) < 0.04  # five standard errors


# Of torchvision, by name.


def given(*texts: str) -> tuple[str, ...]:
    return Dataset(name="digits", augment=texts).augment or ()


def test_names_and_arguments_are_read_as_python_has_them() -> None:
    assert given("RandomHorizontalFlip", " RandomCrop( 8,padding = 2 )") == (
        "RandomHorizontalFlip()", "RandomCrop(8, padding=2)",
    )  # fmt: skip
    assert given("AutoAugment()", "RandomErasing(value='random')")[1] == (
        "RandomErasing(value='random')"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "RandomHorizontalFlp",
            "unknown augmentation 'RandomHorizontalFlp'; .* RandomHorizontalFl",
        ),
        ("MixUp", "unknown augmentation 'MixUp'"),  # changes labels
        ("Resize(4)", "unknown augmentation 'Resize'"),
        ("v2.RandomCrop(8)", "write it as in Python"),
        ("RandomCrop(side)", "plain values as arguments"),
        ("RandomCrop(*[8])", "plain values as arguments"),
        ("RandomCrop(**{'size': 8})", "write it as in Python"),
        ("__import__('os')", "unknown augmentation '__import__'"),
        ("RandomCrop(8", "write it as in Python"),
        ("", "write it as in Python"),
    ],
)
def test_what_is_no_augmentation_is_refused_where_it_is_read(text: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        given(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("RandomCrop(6)", r"makes images of \(1, 6, 6\); they are of \(1, 8, 8\)"),
        ("RandomCrop(8, pading=2)", "unexpected keyword argument 'pading'"),
        ("RandomHorizontalFlip(p=2)", "`p` should be"),
        ("RandomCrop(20)", "RandomCrop"),
    ],
)
def test_what_does_not_fit_the_images_is_refused_before_a_training(text: str, words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        datasets.load(Dataset(name="digits", augment=(text,)), CPU)


def test_every_image_has_a_draw_of_its_own_by_the_generator() -> None:
    images = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    augment = named(given("RandomHorizontalFlip(0.5)", "RandomErasing(1.0)"), (3, 8, 8))
    state = torch.random.get_rng_state()
    first, again, other = (augment(images, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    flips = named(given("RandomHorizontalFlip"), (3, 8, 8))(images, torch.Generator())
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(flips, images, strict=True)]
    assert 16 < sum(mirrored) < 48
    assert all(torch.equal(a, b) for a, b, m in zip(flips, images, mirrored, strict=True) if not m)


def test_nothing_is_done_where_that_is_asked_for() -> None:
    assert datasets.load(Dataset(name="digits", augment=()), CPU).augment is nothing
    assert datasets.load(Dataset(name="digits"), CPU).augment is nothing
    spec = Dataset(name="generated", augment=("RandomHorizontalFlip(1.0)",))
    data = datasets.load(spec, CPU)
    images = data.train.batch(slice(0, 4))[0]
    assert torch.equal(data.augment(images, torch.Generator()), images.flip(3))
