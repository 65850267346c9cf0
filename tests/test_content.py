"""Bytes that are read decide keys: other images are other networks, wherever they lie."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from listening import SETTINGS, listening
from PIL import Image
from rich.console import Console

from orchestrator.cli import running
from orchestrator.cli.request import open_sweep
from orchestrator.errors import RequestError
from orchestrator.state.artifacts import Artifacts
from prune_core.data import datasets
from prune_core.data.content import content
from prune_core.errors import DatasetError
from prune_core.specs.settings import Dataset
from results.tables.storage import Storage

from command import mrsweep
from conftest import sweep_text


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRSWEEP_CACHE", str(tmp_path / "cache"))


def write(root: Path, seed: int = 0) -> Path:
    draw = np.random.default_rng(seed)
    for part in ("train", "test"):
        for name in "ab":
            (root / part / name).mkdir(parents=True)
            for index in range(4):
                pixels = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{index}.png")
    return root


def folder(root: Path, **more: str) -> Dataset:
    return Dataset(name="imagefolder", root=str(root), **more)


def keys(root: Path, storage: Path, **more: str) -> set[str]:
    file = storage / "sweep.yaml"
    storage.mkdir(exist_ok=True)
    extra = "".join(f", {name}: {value}" for name, value in more.items())
    file.write_text(sweep_text(dataset=f"{{name: imagefolder, root: '{root}'{extra}}}"))
    return set(open_sweep(file, str(storage))[0].jobs)


def test_other_images_have_other_keys_and_the_same_elsewhere_the_same(tmp_path: Path) -> None:
    """A second folder got the numbers of the first."""
    first, second = write(tmp_path / "a"), write(tmp_path / "b", seed=1)
    shutil.copytree(first, tmp_path / "c")
    before = keys(first, tmp_path / "runs")
    assert not before & keys(second, tmp_path / "runs")
    assert before == keys(tmp_path / "c", tmp_path / "runs")


def test_an_image_that_changes_gives_new_keys_though_size_and_times_are_kept(
    tmp_path: Path,
) -> None:
    root = write(tmp_path / "a")
    image = root / "train" / "a" / "0.png"
    for file in root.rglob("*.png"):
        os.utime(file, (1, 1))
    before, stat, old = keys(root, tmp_path / "runs"), image.stat(), image.read_bytes()
    image.write_bytes(old[:-1] + bytes([old[-1] ^ 1]))
    os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert not before & keys(root, tmp_path / "runs")
    image.write_bytes(old)
    assert before == keys(root, tmp_path / "runs")


def test_what_is_no_part_of_the_data_set_is_in_no_key(tmp_path: Path) -> None:
    root = write(tmp_path / "a")
    before = content(folder(root))
    for stray in ("README", "runs/x", "train/.DS_Store", "train/a/Thumbs.db"):
        (root / stray).parent.mkdir(exist_ok=True)
        (root / stray).write_text("x")
    assert content(folder(root)) == before
    (root / "train" / "a" / "0.png").rename(root / "train" / "b" / "9.png")  # another label
    assert content(folder(root)) != before


def test_shards_are_read_and_links_followed_but_not_in_a_ring(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.parquet").write_bytes(b"1")
    shards = Dataset(name="cifar10", root=str(tmp_path), source="parquet")
    before = content(shards)
    (tmp_path / "data" / "train.parquet").write_bytes(b"2")
    assert content(shards) != before
    root = write(tmp_path / "a")
    before = content(folder(root))
    (root / "train" / "a").rename(tmp_path / "moved")
    (root / "train" / "a").symlink_to(tmp_path / "moved")
    assert content(folder(root)) == before
    (root / "train" / "b" / "up").symlink_to(root / "train")
    assert content(folder(root))


def test_files_are_read_once_and_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prune_core.data.content.SETTLED", -1.0)
    root, told = write(tmp_path / "a"), []
    first = content(folder(root), lambda *how: told.append(how))
    assert told[-1] == (16, 16)
    told.clear()
    assert content(folder(root), lambda *how: told.append(how)) == first
    assert not told
    next((tmp_path / "cache").glob("content-*.json")).write_text("no digests")
    assert content(folder(root)) == first


def test_a_machine_with_other_images_refuses(tmp_path: Path) -> None:
    root = write(tmp_path / "a")
    spec = folder(root, content=content(folder(root)), validation="1/4")
    datasets.load(spec, torch.device("cpu"))
    datasets._load.cache_clear()
    (root / "train" / "a" / "0.png").write_bytes((root / "train" / "b" / "0.png").read_bytes())
    with pytest.raises(DatasetError, match=f"and the plan is for {spec.content}: this machine"):
        datasets.load(spec, torch.device("cpu"))
    with pytest.raises(RequestError, match=f"dataset.content is {spec.content}, but the files"):
        keys(root, tmp_path / "runs", content=f"'{spec.content}'")


def test_a_head_without_the_images_says_what_it_needs(tmp_path: Path) -> None:
    root, there = write(tmp_path / "a"), tmp_path / "away"
    before, runs = keys(root, tmp_path / "runs"), tmp_path / "runs"
    told = mrsweep("data", runs / "sweep.yaml")
    assert told.returncode == 0
    known = told.stdout.split()[-1].strip("'")
    root.rename(there)
    assert (
        "is not on this machine" in mrsweep("plan", runs / "sweep.yaml", "--storage", runs).stdout
    )
    with listening(SETTINGS) as address:  # a head, as far as it is asked
        ran = mrsweep("run", runs / "sweep.yaml", "--storage", runs, "--address", address)
    assert ran.returncode == 2
    assert "write the dataset's content, which `mrsweep data` tells" in ran.stderr
    assert keys(root, runs, content=f"'{known}'") == before
    keys(root, runs)
    Storage(str(runs)).write(f'{{"content": "{known}"}}'.encode(), "sweeps", "tiny", "data.json")
    assert keys(root, runs) == before  # an earlier run knew


def test_content_is_given_of_images_that_a_name_does_not_tell_alone() -> None:
    with pytest.raises(ValueError, match="'digits' is what its name says; leave out content"):
        Dataset(name="digits", content="0" * 20)


def test_what_classes_are_called_is_kept_beside_the_plan_and_with_each_dense_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By number: class 0 is the first name."""
    root, runs = write(tmp_path / "images"), tmp_path / "runs"
    sweep = sweep_text(
        dataset=f"{{name: imagefolder, root: '{root}', validation: 0.3}}",
        finetuning="{none: {epochs: 0}}",
        criteria="[l1]",
        dense="{objective: standard, epochs: 1}",
        seeds="1",
    )
    (tmp_path / "sweep.yaml").write_text(sweep)
    monkeypatch.setattr(running, "write_report", lambda *_, **__: None)
    how = running.How(executor="inline", device="cpu")
    for _ in range(2):  # the second does nothing, and forgets nothing
        assert running.run(tmp_path / "sweep.yaml", str(runs), how, Console(quiet=True))
    facts = json.loads((runs / "sweeps" / "tiny" / "data.json").read_text())
    assert facts["classes"] == sorted(folder.name for folder in (root / "train").iterdir())
    artifacts = Artifacts(Storage(str(runs)))
    (key,) = artifacts.keys("dense")
    assert artifacts.facts("dense", key, "network.safetensors")["classes"] == facts["classes"]
