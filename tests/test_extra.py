"""Further training images: read, their share of every batch, and what they change."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import parse_sweep
from prune_core.data import datasets
from prune_core.data.extra import mixed
from prune_core.data.splits import Split
from prune_core.errors import DatasetError
from prune_core.specs.recipes import Training
from prune_core.specs.settings import Dataset
from prune_core.training.loop import fit

from conftest import CPU, blank, sweep_text


def write(
    file: Path, count: int = 40, side: int = 8, dtype: type = np.uint8, top: int = 10
) -> Path:
    """Images of one colour each, 200 and more, where those of the digits' own are darker."""
    images = np.full((count, side, side, 1), 200) + np.arange(count)[:, None, None, None]
    np.savez(file, image=images.astype(dtype), label=np.arange(count) % top)
    return file


def spec(file: Path, share: float = 0.25) -> Dataset:
    return Dataset(name="digits", extra={"file": str(file), "share": share})


def test_they_are_read_as_they_are_written(tmp_path: Path) -> None:
    data = datasets.load(spec(write(tmp_path / "more.npz")), CPU)
    assert data.extra is not None
    assert len(data.extra) == 40
    images, labels = data.extra.batch(slice(0, 3))
    assert labels.tolist() == [0, 1, 2]
    assert images[:, 0, 0, 0].tolist() == pytest.approx([200 / 255, 201 / 255, 202 / 255])
    assert data.extra_share == 0.25
    assert len(data.train) == len(datasets.load(Dataset(name="digits"), CPU).train)


def test_a_batch_has_its_share_of_them() -> None:
    images, labels = torch.zeros(10, 1, 2, 2), torch.zeros(10, dtype=torch.long)
    extra = Split(torch.full((5, 1, 2, 2), 255, dtype=torch.uint8), torch.arange(5))
    for share, count in ((0.3, 3), (0.04, 0), (0.99, 10)):
        more, theirs = mixed(images, labels, extra, share, torch.Generator().manual_seed(0))
        assert more.shape == images.shape
        assert (more.flatten(1).amax(1) == 1).tolist() == [False] * (10 - count) + [True] * count
        assert theirs[: 10 - count].eq(0).all()
    drawn = mixed(images, labels, extra, 0.9, torch.Generator().manual_seed(0))[1]
    assert len(set(drawn[1:].tolist())) > 1


def test_a_training_sees_them_in_every_batch(tmp_path: Path) -> None:
    """An epoch has as many steps as without; what goes through augmentation is all of a batch."""
    seen: list[tuple[int, int]] = []

    def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        seen.append((len(images), int((images.flatten(1).amin(1) > 0.7).sum())))
        return images

    data = datasets.load(spec(write(tmp_path / "more.npz"), 0.5), CPU)
    data = dataclasses.replace(data, augment=augment)
    recipe = Training(objective="standard", epochs=1, batch_size=64).resolved()
    fit(blank(data), data, recipe, None, "key")
    assert sum(count for count, _ in seen) == len(data.train)
    assert all(bright == round(0.5 * count) for count, bright in seen)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"side": 9}, r"image is uint8 \[40, 9, 9, 1\] .* wanted: uint8 \[n, 8, 8, 1\]"),
        ({"dtype": np.float32}, "image is float32"),
        ({"top": 11}, "labels from 0 to 10; there are 10 classes"),
        ({"count": 0}, r"image is uint8 \[0, 8, 8, 1\]"),
    ],
)
def test_other_images_are_refused(how: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=words):
        datasets.load(spec(write(tmp_path / "more.npz", **how)), CPU)


def locked(file: Path) -> bytes:
    """An archive that says of its parts that they are encrypted."""
    held = write(file).read_bytes()
    return re.sub(rb"(PK\x03\x04..|PK\x01\x02....)\0", b"\\1\x01", held, flags=re.DOTALL)


@pytest.mark.parametrize("held", [lambda _: b"no archive", lambda _: b"", locked])
def test_a_file_of_something_else_is_refused(held: Callable[[Path], bytes], tmp_path: Path) -> None:
    file = tmp_path / "more.npz"
    file.write_bytes(held(file))
    with pytest.raises(DatasetError, match="has no arrays image and label without code"):
        datasets.load(spec(file), CPU)


def test_arrays_of_other_kinds_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "more.npz"
    images = np.zeros((4, 8, 8, 1), np.uint8)
    np.savez(file, image=images, label=np.zeros((4, 1), np.int64))
    with pytest.raises(DatasetError, match=r"label int64 \[4, 1\]; wanted: .* integers \[n\]"):
        datasets.load(spec(file), CPU)
    np.savez(file, image=np.array([{}], dtype=object), label=np.zeros(1))
    with pytest.raises(DatasetError, match="has no arrays image and label without code"):
        datasets.load(spec(file), CPU)
    for none in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(ValidationError, match=r"no file .* to read; give its content where"):
            spec(none)


def test_their_bytes_are_in_the_key_and_their_place_is_not(tmp_path: Path) -> None:
    def key(file: Path, share: float = 0.25) -> str:
        data = f"{{name: digits, extra: {{file: {file}, share: {share}}}}}"
        return next(iter(make_plan(parse_sweep(sweep_text(dataset=data))).jobs))

    first, same = write(tmp_path / "a.npz"), tmp_path / "b.npz"
    same.write_bytes(first.read_bytes())
    assert key(first) == key(same) != key(first, 0.5)
    assert key(write(tmp_path / "c.npz", 50)) != key(first)
    given = Dataset(name="digits", extra={"file": str(first), "share": 0.25, "content": "0" * 20})
    with pytest.raises(DatasetError, match=r"a\.npz is \w+, and the plan is for 0{20}"):
        datasets.load(given, CPU)
