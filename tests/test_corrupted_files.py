"""Corrupted copies of test images, from files laid out as CIFAR-10-C."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import results
from orchestrator.cli.checks import check_methods
from orchestrator.errors import RequestError
from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import SweepFileError, parse_sweep
from prune_core.data import corrupted, datasets
from prune_core.specs.settings import Dataset

from conftest import CPU, run_sweep, sweep_text

CLASSES, EACH = 4, 6
COUNT = CLASSES * EACH
FOG = "corruption-files-fog-3"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An image folder, and beside it corrupted copies of its test images.

    The first channel of a test image says which it is, the second channel of a copy how severely
    it is corrupted.
    """
    monkeypatch.setenv("MRSWEEP_CACHE", str(tmp_path / "cache"))
    copies = np.zeros((5, COUNT, 8, 8, 3), np.uint8)
    for part in ("train", "test"):
        for index in range(COUNT):
            place = tmp_path / part / f"c{index // EACH}"
            place.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (index, 0, 0)).save(place / f"{index:02}.png")
            copies[:, index, :, :, 0] = index
    copies[..., 1] = np.arange(1, 6).reshape(5, 1, 1, 1)
    (tmp_path / "C").mkdir()
    np.save(tmp_path / "C" / "fog.npy", copies.reshape(-1, 8, 8, 3))
    np.save(tmp_path / "C" / "labels.npy", np.tile(np.arange(COUNT) // EACH, 5).astype(np.uint8))
    return tmp_path


def spec(folder: Path, **changes: object) -> Dataset:
    return Dataset(name="imagefolder", root=str(folder), corrupted=str(folder / "C"), **changes)


def text(folder: Path, attacks: str = f"[{FOG}]", **changes: str) -> str:
    told = f"{{name: imagefolder, root: '{folder}', corrupted: '{folder / 'C'}', validation: 0.3}}"
    evaluation = f"{{attacks: {attacks}, sanity_images: 0}}"
    return sweep_text(**{"dataset": told, "evaluation": evaluation, **changes})


@pytest.mark.parametrize(
    "limits", [{}, {"test_per_class": 2}, {"classes": 2}, {"size": 4, "test_per_class": 3}]
)
def test_each_test_image_has_its_own_copy(folder: Path, limits: dict[str, int]) -> None:
    told = spec(folder, **limits)
    data = datasets.load(told, CPU)
    copies = corrupted.test_images(data, told, FOG)
    assert copies.images.shape == data.test.images.shape
    assert torch.equal(copies.images[:, 0], data.test.images[:, 0])
    assert set(copies.images[:, 1].flatten().tolist()) == {3}
    assert torch.equal(copies.labels, data.test.labels)
    assert corrupted.test_images(data, told, "fgsm") is data.test


def test_copies_of_another_size_are_resized_as_the_data_set_is(folder: Path) -> None:
    large = np.load(folder / "C" / "fog.npy").repeat(2, 1).repeat(2, 2)
    np.save(folder / "C" / "fog.npy", large)
    told = spec(folder, size=8)
    data = datasets.load(told, CPU)
    assert torch.equal(corrupted.test_images(data, told, FOG).images[:, 0], data.test.images[:, 0])


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        file = folder / "C" / name
        array = change(np.load(file))
        np.save(file, array, allow_pickle=array.dtype == object)

    return write


WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "no images": (lambda folder: (folder / "C" / "fog.npy").unlink(), r"no .*fog\.npy; set data"),
    "no labels": (lambda folder: (folder / "C" / "labels.npy").unlink(), r"no .*labels\.npy; set"),
    "other labels": (
        changed("labels.npy", lambda labels: labels[::-1]),
        r"labels\.npy does not hold the labels of the 24 test images of 'imagefolder' in their ord",
    ),
    "too few labels": (changed("labels.npy", lambda labels: labels[:-1]), "does not hold the lab"),
    "too few images": (
        changed("fog.npy", lambda images: images[:-1]),
        r"fog\.npy holds uint8 of shape 119x8x8x3, not uint8 of shape 120x8x8x3",
    ),
    "another size": (changed("fog.npy", lambda images: images[:, :4]), "shape 120x4x8x3, not"),
    "floats": (changed("fog.npy", lambda images: images / 255), "holds float64 of shape"),
    "pickled": (changed("fog.npy", lambda images: images.astype(object)), "cannot be read"),
    "an archive": (
        lambda folder: (
            np.savez(folder / "a.npz", np.zeros(3)),
            (folder / "a.npz").rename(folder / "C" / "fog.npy"),
        ),
        "cannot be read",
    ),
    "half an archive": (
        lambda folder: (folder / "C" / "fog.npy").write_bytes(b"PK\x03\x04"), "cannot be read",
    ),
    "a folder": (
        lambda folder: (
            (folder / "C" / "fog.npy").rename(folder / "fog"), (folder / "C" / "fog.npy").mkdir(),
        ),
        "cannot be read",
    ),
    "cut off": (
        lambda folder: (folder / "C" / "fog.npy").write_bytes(b"\x93NUMPY"), "cannot be read",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_files_of_other_images_are_refused_before_anything_runs(what: str, folder: Path) -> None:
    spoil, message = WRONG[what]
    spoil(folder)
    plan = make_plan(parse_sweep(text(folder, "[fgsm, corruption-files-fog-1, " + FOG + "]")))
    with pytest.raises(RequestError, match=message) as refused:
        check_methods(plan, None, Console())
    assert len(str(refused.value).splitlines()) == 1


def test_test_images_that_are_cut_off_from_training_have_no_copies(folder: Path) -> None:
    (folder / "test").rename(folder / "elsewhere")
    plan = make_plan(parse_sweep(text(folder)))
    with pytest.raises(RequestError, match="'imagefolder' comes without test images of its own"):
        check_methods(plan, None, Console())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "digits"}, f"'{FOG}' needs dataset.corrupted: a folder with"),
        ({"attacks": f"[fgsm+{FOG}]"}, "images of files take no other attack before or after"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(
    changes: dict[str, str], message: str, folder: Path
) -> None:
    with pytest.raises(SweepFileError, match=message):
        make_plan(parse_sweep(text(folder, **changes)))


def test_a_cluster_s_driver_must_see_the_files_too(folder: Path) -> None:
    plan = make_plan(parse_sweep(text(folder)))
    check_methods(plan, "auto", Console())
    (folder / "C").rename(folder / "D")
    with pytest.raises(RequestError, match=r"no .*fog\.npy on this machine, and its bytes are in"):
        check_methods(plan, "auto", Console())


def test_the_bytes_of_the_files_are_in_the_keys_of_what_reads_them(folder: Path) -> None:
    sweep = parse_sweep(text(folder, f"[fgsm, {FOG}]"))
    before = make_plan(sweep)
    measured = [each.key for each in next(iter(before.jobs.values())).evaluations]
    (folder / "C").rename(folder / "D")
    moved = make_plan(parse_sweep(text(folder, f"[fgsm, {FOG}]").replace("/C'", "/D'")))
    assert list(moved.jobs) == list(before.jobs)
    images = np.load(folder / "D" / "fog.npy")
    images[-1] += 1
    (folder / "C").mkdir()
    np.save(folder / "C" / "fog.npy", images)
    after = make_plan(sweep)
    assert not set(before.trials) & set(after.trials)
    assert set(before.jobs) - set(before.trials) == set(after.jobs) - set(after.trials)
    again = [each.key for each in next(iter(after.jobs.values())).evaluations]
    assert [one == other for one, other in zip(measured, again, strict=True)] == [True, True, False]


def test_a_sweep_measures_them(folder: Path) -> None:
    """Copies that show other images, one place further: what was right is that of the next."""
    shifted = np.roll(np.load(folder / "C" / "fog.npy").reshape(5, COUNT, 8, 8, 3), EACH, 1)
    shifted[..., 1] = 0
    np.save(folder / "C" / "fog.npy", shifted.reshape(-1, 8, 8, 3))
    small = text(
        folder, criteria="[l1]", seeds="1", finetuning="{none: {epochs: 0}}",
        dense="{objective: standard, epochs: 3, batch_size: 8, lr: 0.05}",
    )  # fmt: skip
    run_sweep(small, folder / "runs")
    evaluations = results.load(str(folder / "runs"), "tiny").evaluations
    dense = evaluations[evaluations["stage"] == "dense"].set_index("attack")
    right = {
        name: np.unpackbits(np.frombuffer(dense.loc[name, "outcomes"], np.uint8), count=COUNT)
        for name in ("clean", FOG)
    }
    assert right["clean"].mean() > 0.4
    wrongly = right["clean"].astype(bool) & np.roll(right["clean"], EACH).astype(bool)
    assert wrongly.any()
    assert not right[FOG][wrongly].any()
