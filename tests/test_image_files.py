"""Data sets from files, as they are shipped: read whole, decoded once, damage named."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from prune_core.data import datasets
from prune_core.data.augmentation import flip_and_shift, nothing
from prune_core.data.content import content
from prune_core.errors import DatasetError
from prune_core.specs.settings import Dataset

from conftest import CPU

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MRSWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def picture(label: int, index: int, side: int = 8, grey: bool = False) -> Image.Image:
    """A picture of one colour: ``label`` in red, ``index`` in green."""
    if grey:
        return Image.new("L", (side, side), 20 * label)
    return Image.new("RGB", (side, side), (20 * label, index, 0))


def encoded(label: int, index: int) -> dict[str, bytes]:
    buffer = io.BytesIO()
    picture(label, index).save(buffer, "PNG")
    return {"bytes": buffer.getvalue()}


def write_parquet(root: Path, part: str, column: str, label: str, count: int = 30) -> None:
    rows = [{column: encoded(i % 3, i), label: i % 3} for i in range(count)]
    pq.write_table(pa.Table.from_pylist(rows), root / f"{part}.parquet")


def write_saved(root: Path, part: str, column: str, label: str, counts: tuple[int, ...]) -> None:
    """A split as Hugging Face's save_to_disk writes it: Arrow streams, and a list of them."""
    folder = root / part
    folder.mkdir(parents=True)
    features = {"info": {"features": {label: {"_type": "ClassLabel", "names": ["a", "b", "c"]}}}}
    schema = pa.schema(
        [(column, pa.struct([("bytes", pa.binary())])), (label, pa.int64())],
        {b"huggingface": json.dumps(features).encode()},
    )
    files = [f"data-{n:05d}-of-{len(counts):05d}.arrow" for n in range(len(counts))]
    start = 0
    for file, count in zip(files, counts, strict=True):
        rows = [{column: encoded(i % 3, i), label: i % 3} for i in range(start, start + count)]
        with pa.OSFile(str(folder / file), "wb") as sink, pa.ipc.new_stream(sink, schema) as stream:
            stream.write_table(pa.Table.from_pylist(rows, schema), max_chunksize=4)
        start += count
    state = {"_data_files": [{"filename": file} for file in files], "_fingerprint": "1"}
    (folder / "state.json").write_text(json.dumps(state))


def write_folders(root: Path, part: str, inner: str = "", count: int = 10) -> None:
    for label, name in enumerate(("n01", "n02", "n03")):
        folder = root / part / name / inner
        folder.mkdir(parents=True)
        for index in range(count):
            picture(label, index).save(folder / f"{name}_{index}.png")


def load(name: str, root: Path, source: str, **options: object) -> datasets.Dataset:
    spec = Dataset(name=name, root=str(root), source=source, **options)
    return datasets._load.__wrapped__(spec, CPU)


def check_three_classes(data: datasets.Dataset) -> None:
    """Labels are the pictures' colours, in every split."""
    assert data.classes == 3
    for split in (data.train, data.validation, data.test):
        assert len(split) > 0
        assert torch.equal(split.images[:, 0, 0, 0].long(), 20 * split.labels)


@pytest.mark.parametrize(
    ("name", "column", "label", "part"),
    [
        ("cifar10", "img", "label", "test"),
        ("cifar100", "img", "fine_label", "test"),
        ("tiny-imagenet", "image", "label", "valid"),
        ("arrow", "image", "label", None),
    ],
)
def test_folders_that_hugging_face_saved(
    name: str, column: str, label: str, part: str | None, tmp_path: Path, cache: Path
) -> None:
    write_saved(tmp_path, "train", column, label, (13, 17))
    if part is not None:
        write_saved(tmp_path, part, column, label, (6,))
    data = load(name, tmp_path, "arrow")
    check_three_classes(data)
    assert data.names == ("a", "b", "c")
    assert len(data.train) + len(data.validation) + len(data.test) == 30 + 6 * (part is not None)
    spec = Dataset(name=name, root=str(tmp_path), source="arrow")
    before = content(spec)
    (tmp_path / "train" / "state.json").touch()
    (tmp_path / "dataset_dict.json").write_text("{}")
    assert content(spec) == before
    shard = tmp_path / "train" / "data-00001-of-00002.arrow"
    shard.rename(tmp_path / "elsewhere")
    assert content(spec) != before
    with pytest.raises(DatasetError, match=r"train lacks files of state.json: .*00001-of-00002"):
        load(name, tmp_path, "arrow")
    (tmp_path / "train" / "state.json").write_text("[]")
    with pytest.raises(DatasetError, match=r"state.json cannot be read"):
        load(name, tmp_path, "arrow")
    (tmp_path / "train" / "state.json").unlink()
    with pytest.raises(DatasetError, match="no train as save_to_disk writes it in"):
        load(name, tmp_path, "arrow")


def state(split: Path, **changes: object) -> None:
    file = split / "state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


SAVED: dict[str, tuple[dict[str, object], str]] = {
    "indices": ({"_indices_files": [{"filename": "i.arrow"}]}, "takes only some rows of its files"),
    "twice": ({"_data_files": [{"filename": "data-00000-of-00002.arrow"}] * 2}, "names a file tw"),
    "numbers": ({"_data_files": [{"filename": 3}]}, r"state\.json cannot be read"),
    "nothing": ({"_data_files": []}, r"train has no file in state\.json"),
}


@pytest.mark.parametrize("what", SAVED)
def test_a_saved_split_that_says_something_else_is_refused(what: str, tmp_path: Path) -> None:
    write_saved(tmp_path, "train", "image", "label", (13, 17))
    changes, words = SAVED[what]
    state(tmp_path / "train", **changes)
    with pytest.raises(DatasetError, match=words):
        load("arrow", tmp_path, "arrow")


def test_what_a_saved_split_names_is_what_is_read_and_in_keys(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A list of fewer files gave other images under the old key."""
    write_saved(tmp_path, "train", "image", "label", (30, 17))
    write_saved(tmp_path, "unsupervised", "image", "label", (6,))
    spec = Dataset(name="arrow", root=str(tmp_path), source="arrow")
    before = content(spec)
    (tmp_path / "train" / "cache-1.arrow").write_text("of a map")
    assert content(spec) == before
    whole = json.loads((tmp_path / "train" / "state.json").read_text())["_data_files"]
    seen = {before}
    for files in (whole[::-1], whole[:1]):
        state(tmp_path / "train", _data_files=files)
        seen.add(content(spec))
    assert len(seen) == 3
    data = load("arrow", tmp_path, "arrow")
    assert len(data.train) + len(data.validation) + len(data.test) == 30
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith("are left out: unsupervised, train/data-00001-of-00002.arrow")
    (tmp_path / "unsupervised").rename(tmp_path / "Test")
    with pytest.raises(DatasetError, match="is Test the test split"):
        load("arrow", tmp_path, "arrow")


@pytest.mark.parametrize(
    ("name", "column", "label", "part"),
    [
        ("cifar10", "img", "label", "test"),
        ("cifar100", "img", "fine_label", "test"),
        ("svhn", "image", "label", "test"),
        ("tiny-imagenet", "image", "label", "valid"),
        ("parquet", "image", "label", "test"),
        ("parquet", "image", "label", None),
    ],
)
def test_parquet_in_the_hub_s_layout(
    name: str, column: str, label: str, part: str | None, tmp_path: Path, cache: Path
) -> None:
    write_parquet(tmp_path, "train", column, label)
    if part is not None:
        write_parquet(tmp_path, part, column, label, count=6)
    data = load(name, tmp_path, "parquet")
    check_three_classes(data)
    assert data.shape == (3, 8, 8)
    assert len(data.test) == 6
    assert data.augment is (nothing if name == "svhn" else flip_and_shift)


def test_image_folders(tmp_path: Path, cache: Path) -> None:
    write_folders(tmp_path, "train")
    check_three_classes(load("imagefolder", tmp_path, "folder"))
    write_folders(tmp_path, "val", count=4)
    data = load("imagefolder", tmp_path, "folder", size=16)
    check_three_classes(data)
    assert len(data.test) == 12
    assert data.shape == (3, 16, 16)


def tiny(root: Path) -> Path:
    """Tiny-ImageNet as shipped: validation images all in one folder, labels in a file beside."""
    write_folders(root, "train", inner="images")
    folder = root / "val" / "images"
    folder.mkdir(parents=True)
    lines = []
    for index in range(12):
        label = (7 * index) % 3
        picture(label, index, grey=index == 4).save(folder / f"val_{index}.JPEG", "PNG")
        lines.append(f"val_{index}.JPEG\tn0{label + 1}\t0\t0\t62\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    return root


def test_tiny_imagenet_s_validation_labels_come_from_its_annotations(
    tmp_path: Path, cache: Path
) -> None:
    data = load("tiny-imagenet", tiny(tmp_path), "folder")
    check_three_classes(data)
    assert data.test.labels.bincount().tolist() == [4, 4, 4]


def test_tiny_imagenet_with_validation_images_moved_into_class_folders(
    tmp_path: Path, cache: Path
) -> None:
    write_folders(tmp_path, "train", inner="images")
    write_folders(tmp_path, "val", inner="images", count=2)
    check_three_classes(load("tiny-imagenet", tmp_path, "folder"))


def cifar_batch(folder: Path, name: str, labels: list[int], monkeypatch: pytest.MonkeyPatch) -> str:
    images = np.zeros((len(labels), 3, 32, 32), dtype=np.uint8)
    images[:, 0] = 20 * np.array(labels)[:, None, None]
    data = pickle.dumps({"data": images.reshape(len(labels), -1), "labels": labels})  # as they ship
    (folder / name).write_bytes(data)
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def test_torchvision_s_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10

    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    lists = {
        "train_list": [("data_batch_1", [0, 1, 2] * 10)],
        "test_list": [("test_batch", [2, 0, 1])],
    }
    for which, batches in lists.items():
        digests = [
            [name, cifar_batch(folder, name, labels, monkeypatch)] for name, labels in batches
        ]
        monkeypatch.setattr(CIFAR10, which, digests)
    meta = pickle.dumps({"label_names": list("abc")})
    (folder / "batches.meta").write_bytes(meta)
    md5 = hashlib.md5(meta, usedforsecurity=False).hexdigest()
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5})
    check_three_classes(load("cifar10", tmp_path, "torchvision"))
    (folder / "test_batch").write_bytes(b"damaged")
    with pytest.raises(DatasetError, match=r"no complete CIFAR10 .* fetch it once"):
        load("cifar10", tmp_path, "torchvision")


def test_images_are_decoded_once_for_a_machine(tmp_path: Path, cache: Path) -> None:
    write_folders(tmp_path, "train")
    first = load("imagefolder", tmp_path, "folder")
    files = sorted((tmp_path / "train").rglob("*.png"))
    with patch("PIL.Image.open", side_effect=AssertionError("decoded again")):
        again = load("imagefolder", tmp_path, "folder")
    assert torch.equal(first.train.images, again.train.images)
    picture(2, 99).save(files[0])  # what has changed is decoded anew
    assert not torch.equal(load("imagefolder", tmp_path, "folder").train.images, first.train.images)


def test_parts_of_a_split_share_its_images(tmp_path: Path, cache: Path) -> None:
    write_folders(tmp_path, "train", count=40)
    data = load("imagefolder", tmp_path, "folder")
    assert data.train.pixels.data_ptr() == data.validation.pixels.data_ptr()
    part = data.train.take(data.train.labels == 2).take(torch.tensor([3, 1]))
    assert part.pixels.data_ptr() == data.train.pixels.data_ptr()
    whole = data.train.images[data.train.labels == 2][[3, 1]]
    assert torch.equal(part.images, whole)
    assert torch.equal(part.batch(slice(1, 2))[0], whole[1:] / 255)
    assert torch.equal(part.batch(torch.tensor([1, 0]))[0], whole.flip(0) / 255)


def test_processes_wait_for_the_one_that_decodes(tmp_path: Path, cache: Path) -> None:
    write_folders(tmp_path, "train")
    code = (
        "import sys, torch\nfrom unittest.mock import patch\nfrom PIL import Image\n"
        "from prune_core.data import datasets\nfrom prune_core.specs.settings import Dataset\n"
        "opened, plain = [], Image.open\n"
        "with patch('PIL.Image.open', lambda f: opened.append(f) or plain(f)):\n"
        "    datasets.load(Dataset(name='imagefolder', root=sys.argv[1]), torch.device('cpu'))\n"
        "print(len(opened))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    assert sum(int(process.communicate()[0]) for process in started) == 30  # each image once


def test_a_cache_that_cannot_be_written_costs_time_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MRSWEEP_CACHE", str(tmp_path / "file" / "cache"))
    write_folders(tmp_path, "train")
    check_three_classes(load("imagefolder", tmp_path, "folder"))
    assert "cannot be kept" in caplog.text


@pytest.mark.skipif(not SHARED.exists(), reason="no CIFAR-10 as Parquet beside the project")
def test_real_cifar10_from_parquet() -> None:
    data = load("cifar10", SHARED / "cifar10", "parquet", test_per_class=100)
    assert len(data.train) + len(data.validation) == 50_000
    assert data.train.labels.bincount().tolist() == [4500] * 10
    assert data.test.labels.bincount().tolist() == [100] * 10
    assert data.mean == pytest.approx((0.491, 0.482, 0.447), abs=0.005)


@pytest.mark.skipif(not SHARED.exists(), reason="no Tiny-ImageNet as Parquet beside the project")
def test_real_tiny_imagenet_from_parquet() -> None:
    data = load("tiny-imagenet", SHARED / "tiny-imagenet", "parquet")
    assert data.classes == 200
    assert data.shape == (3, 64, 64)
    assert data.test.labels.bincount().tolist() == [25] * 200
