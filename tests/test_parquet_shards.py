"""Parquet files: which of them are a split, and whether they are all there."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pyarrow as pa
import pytest

from prune_core.data.parquet import TRAIN, split_files
from prune_core.errors import DatasetError

from test_parquet import TESTED, TRAINED, check, load, write


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRSWEEP_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    "names",
    [["train"], ["train-0", "train-1"], ["train_001", "train_002"],
     ["train-00000-of-00002", "train-00001-of-00002"],
     ["train-00001-of-00002", "train-00002-of-00002"],
     ["train-00000-of-00001-0123456789abcdef"]],
)  # fmt: skip
def test_the_shards_of_a_split_are_read_in_order(names: list[str], tmp_path: Path) -> None:
    size = len(TRAINED) // len(names)
    for index, name in enumerate(names):
        write(tmp_path, name, TRAINED[index * size : (index + 1) * size])
    write(tmp_path, "test", TESTED)
    check(load(tmp_path))
    assert [file.stem for file in split_files(tmp_path, TRAIN)] == names


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["train-00000-of-00002"], "these are missing: 1"),
        (["train-00001-of-00002"], "these are missing: 0"),
        (["train-00000-of-00004", "train-00003-of-00004"], "these are missing: 1, 2"),
        (["train-0", "train-2"], "these are missing: 1"),
        (["train", "train-00000-of-00001"], "do not belong together"),
        (["train-00000-of-00001", "train-00000-of-00002"], "do not belong together"),
        (["train-00000-of-00002", "train-00001-of-00002", "train-00002-of-00002"],
         "these are none of 2: 2"),
        (["train-00001-of-00003", "train-00003-of-00003"], "these are missing: 2"),
        (["train-00000-of-00001-0123456789", "train-00000-of-00001-abcdef0123"],
         "do not belong together"),
    ],
)  # fmt: skip
def test_a_split_that_is_not_whole_or_there_twice_is_refused(
    names: list[str], said: str, tmp_path: Path
) -> None:
    for name in names:
        write(tmp_path, name, TRAINED)
    write(tmp_path, "test", TESTED)
    with pytest.raises(DatasetError, match=said):
        load(tmp_path)


def test_a_split_in_two_folders_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "data"):
        write(folder, "train", TRAINED)
    with pytest.raises(DatasetError, match="keep one"):
        load(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "train-extra",
        "train_clean",
        "train.old",
        "test-small",
        "train (1)",
        "train copy",
        "Test",
        "TRAIN-0",
    ],
)
def test_a_file_that_may_be_part_of_a_split_is_refused_by_its_name(
    name: str, tmp_path: Path
) -> None:
    write(tmp_path, "train", TRAINED)
    write(tmp_path, "test", TESTED)
    write(tmp_path, name, TRAINED)
    with pytest.raises(DatasetError, match=rf"{re.escape(name)}.parquet: is that part of"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["testing", "evaluation-00000-of-00001", "holdout"])
def test_a_file_that_may_be_the_test_split_is_refused_where_there_is_none(
    name: str, tmp_path: Path
) -> None:
    write(tmp_path, "train", TRAINED)
    write(tmp_path, name, TESTED)
    with pytest.raises(DatasetError, match=f"is {name}.parquet the test split"):
        load(tmp_path)
    write(tmp_path, "test", TESTED)
    check(load(tmp_path))


def test_a_shard_that_cannot_be_read_is_the_one_that_is_named(tmp_path: Path) -> None:
    for name in ("train-0", "train-1", "test"):
        write(tmp_path, name, TRAINED)
    (tmp_path / "train-1.parquet").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"^train-1\.parquet in .* cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize("other", ["train-1", "test"])
def test_files_that_call_classes_otherwise_are_refused(other: str, tmp_path: Path) -> None:
    """Labels of the second were taken for classes of the first."""
    for name in ("train-0", "train-1", "test"):
        write(tmp_path, name, TRAINED, names=list("abdc" if name == other else "abcd"))
    with pytest.raises(
        DatasetError, match=rf"label 2 is 'c' in .*train-0.parquet and 'd' in .*{other}.parquet"
    ):
        load(tmp_path)


def test_files_that_are_left_out_and_copies_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("train-0", "train-1"):
        write(tmp_path, name, TRAINED)
    for name in ("test", "val", "extra"):
        write(tmp_path, name, TESTED)
    (tmp_path / "train-2.parquet.part").write_text("still fetched")
    with caplog.at_level(logging.WARNING):
        load(tmp_path)
    first, second = [record.getMessage() for record in caplog.records]
    assert first.endswith(
        "train-0.parquet and train-1.parquet hold the same: all of it is there twice"
    )
    assert second.endswith(
        "Parquet files that are left out: extra.parquet, train-2.parquet.part, val.parquet"
    )


def test_shards_may_differ_in_how_wide_their_numbers_are(tmp_path: Path) -> None:
    write(tmp_path, "train-0", TRAINED, kind=pa.int32())
    write(tmp_path, "train-1", TRAINED, kind=pa.int64())
    write(tmp_path, "test", TESTED)
    check(load(tmp_path))
    write(tmp_path, "train-1", TRAINED, ["abcd"[label] for label in TRAINED])
    with pytest.raises(DatasetError, match=r"types: int32 \(train-0.parquet\), string \(train-1"):
        load(tmp_path)
