"""Data sets of the user's own: what their function gives is checked before anything is computed."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from prune_core.data import datasets
from prune_core.errors import DatasetError, OwnCodeError
from prune_core.specs.settings import Dataset

from conftest import CPU

MODULE = """import torch
from prune_core.data.raw import Raw
from prune_core.data.splits import Split
y = torch.arange(80) % 4
x = torch.arange(80).view(80, 1, 1, 1).expand(80, 3, 8, 8).contiguous().to(torch.uint8)
few = Split(x[:20], y[:20])
"""
GIVEN = {
    "floats": ("Raw(Split(x / 255, y))", r"train has images that are a Tensor float32 \[80, 3, 8"),
    "one channel": ("Raw(Split(x[:, 0], y))", r"train has images that are a Tensor uint8 \[80, 8"),
    "channels last": ("Raw(Split(x.permute(0, 2, 3, 1), y))", "with their channels last"),
    "arrays": (
        "Raw(Split(x.numpy(), y.numpy()))",
        "labels that are a ndarray int64 .* images that",
    ),
    "narrow labels": ("Raw(Split(x, y.int()))", r"train has labels that are a Tensor int32 \[80\]"),
    "a column": ("Raw(Split(x, y[:, None]))", r"labels that are a Tensor int64 \[80, 1\]"),
    "no labels": ("Raw(few, Split(x, y * 0 - 1))", "test has labels below 0: 80 of 80"),
    "others": ("Raw(few, Split(x, y + 3))", "test has labels up to 6, and train has 4 classes"),
    "few names": ("Raw(few, names=('a', 'b'))", "up to 3, and there are names for 2 classes"),
    "counts": ("Raw(few, Split(x, y[:70]))", "test has 80 images and 70 labels"),
    "nothing": ("Raw(Split(x[:0], y[:0]))", "train has no images"),
    "channels": ("Raw(few, Split(x[:, :1], y))", "3 channels for training, 1 in the test split"),
    "a tuple": ("(x, y)", "its function gives a tuple"),
    "tuples": ("Raw((x, y))", "train is a tuple"),
    "a fault": ("{}['a']", r"cannot be read: KeyError: 'a' \(own_images_\d+.py:8\)"),
    "an exit": ("exit(3)", r"ends the process: SystemExit\(3\)"),
    "one class": ("Raw(Split(x, y), Split(x, y * 0))", r"without test images: 3 of 4, .* \(80 im"),
    "untrained": ("Raw(Split(x, y * 0 + 2), Split(x, y % 3))", "without training images: 2 of 3,"),
}
"""What a function returns, and what is said of it."""


def load(name: str, root: Path, given: str, **settings: object) -> datasets.Dataset:
    (root / f"{name}.py").write_text(f"{MODULE}def mine(spec):\n    return {given}\n")
    return datasets._load.__wrapped__(Dataset(name=f"{name}:mine", **settings), CPU)


@pytest.mark.parametrize("what", GIVEN)
def test_what_is_no_data_set_is_refused(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    given, words = GIVEN[what]
    with pytest.raises(OwnCodeError if what == "an exit" else DatasetError, match=words):
        load(f"own_images_{list(GIVEN).index(what)}", tmp_path, given)


def test_classes_without_images_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Labels from 1, and a test split that lacks a class."""
    monkeypatch.syspath_prepend(str(tmp_path))
    with caplog.at_level(logging.WARNING):
        data = load("own_from_one", tmp_path, "Raw(Split(x, y + 1), Split(x[:20], y[:20] % 3 + 1))")
    assert data.classes == 5
    assert torch.equal(data.test.labels, torch.arange(20) % 4 % 3 + 1)
    assert [record.getMessage() for record in caplog.records] == [
        "own_from_one:mine: classes without training images: 1 of 5 (0)",
        "own_from_one:mine: classes without test images: 2 of 5 (0, 4)",
    ]


def test_images_that_are_all_held_out_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    given = "Raw(Split(x[:41], (y[:41] % 2).clone().index_fill_(0, torch.tensor(0), 2)), few)"
    given = given.replace(", few", ", Split(x[:20], y[:20] % 3)")
    with pytest.raises(DatasetError, match=r"0\.6 holds out all training images of 2 \(1 a class"):
        load("own_held", tmp_path, given, validation=0.6)
