"""Tables: rows written once, read by anyone, damage and other versions noticed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import results.tables.file
import results.tables.log
import results.tables.schema
from results.errors import TableError
from results.tables.fold import Folder
from results.tables.schema import VERSION
from results.tables.storage import Storage
from results.tables.store import Tables


def trial(name: str, status: str = "done", **more: object) -> dict[str, object]:
    return {"trial_id": name, "status": status, "seed": 0, "finetuned_clean": 0.5, **more}


def put(storage: Storage, table: str, rows: Sequence[dict[str, object]], fold: bool = True) -> None:
    """Write rows, into the log alone or into files."""
    tables = Tables(storage)
    tables.write(table, rows)
    tables.commit()
    if fold:
        Folder(storage).fold()


@pytest.mark.parametrize("fold", [False, True])
def test_rows_are_written_once(fold: bool, storage: Storage) -> None:
    """In the log and in files alike: the first stays, but for a failed trial's."""
    tables = Tables(storage)
    put(storage, "trials", [trial("k")], fold)
    put(storage, "trials", [trial("k", finetuned_clean=0.9 if fold else 0.5)], fold)
    assert tables.read("trials")["finetuned_clean"].tolist() == [0.5]
    put(storage, "trials", [trial("k", "failed")], fold)
    assert tables.find("trials", "k")[0]["status"] == "done"  # a done row gives way to none
    put(storage, "trials", [trial("f", "failed", error="first")], fold)
    put(storage, "trials", [trial("f", "failed", error="second")], fold)
    assert len(tables.read("trials")) == 2
    put(storage, "trials", [trial("f")], fold)
    assert tables.find("trials", "f")[0]["status"] == "done"
    assert tables.find("trials", "other") is None
    assert tables.read("trials")["trial_id"].tolist() == ["f", "k"]
    assert tables.keys("trials") == {"f", "k"}


def test_rows_wait_for_those_that_follow_unless_much_work_is_in_them(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = Tables(storage, "writer")
    tables.write("trials", [trial("a")])
    assert not storage.names("log")
    assert tables.find("trials", "a")[0]["trial_id"] == "a"  # its own writer knows
    assert Tables(storage).find("trials", "a") is None
    monkeypatch.setattr(results.tables.log, "PATIENCE", 0.0)
    tables.write("jobs", [{"key": "a", "attempt": 1}])
    assert len(storage.names("log")) == 1
    assert storage.names("log") == list(tables.committed)
    assert storage.names("log")[0].startswith("writer-")


def test_every_type_comes_back_from_the_log(storage: Storage) -> None:
    row = {"key": "k", "outcomes": bytes(range(256)), "accuracy": np.float64(0.25), "count": 9}
    put(storage, "evaluations", [row], fold=False)
    now = datetime.now(UTC)
    put(storage, "jobs", [{"key": "k", "attempt": 1, "start": now}], fold=False)
    put(storage, "checks", [{"key": "k", "check": "c", "passed": np.bool_(True)}], fold=False)
    for _ in range(2):
        (found,) = Tables(storage).find("evaluations", "k")
        assert {name: found[name] for name in row} == row
        assert Tables(storage).read("jobs")["start"][0] == now
        assert Tables(storage).find("checks", "k")[0]["passed"] is True
        Folder(storage).fold()


def test_a_newer_file_is_refused(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    put(storage, "trials", [trial("k")])
    put(storage, "trials", [trial("l")], fold=False)
    monkeypatch.setattr(results.tables.schema, "VERSION", VERSION - 1)
    with pytest.raises(TableError, match=r"log/.* has schema version .*install a newer one"):
        Tables(storage).read("trials")
    Folder(storage)
    storage.remove("log")
    with pytest.raises(TableError, match=r"000001.parquet has schema .*install a newer one"):
        Tables(storage).read("trials")


def test_a_damaged_file_is_named_and_left_out(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    put(storage, "jobs", [{"key": "k", "attempt": 1}])
    storage.write(b"PAR1 broken", "tables", "jobs", "000002.parquet")
    storage.write(b"0000\n{}", "log", "x.json")
    assert Tables(storage).read("jobs")["key"].tolist() == ["k"]
    assert "000002.parquet: it cannot be read" in caplog.text
    assert "x.json: it is not what was written" in caplog.text
    assert storage.exists("tables", "jobs", "000002.parquet")  # a reader moves nothing
    put(storage, "jobs", [{"key": "l", "attempt": 1}])
    assert storage.names("damaged", "jobs") == ["000002.parquet"]
    assert storage.names("damaged", "log") == ["x.json"]
    assert Tables(storage).read("jobs")["key"].tolist() == ["k", "l"]


def test_of_a_damaged_file_the_groups_that_are_whole_stay(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results.tables.file, "GROUP", 10)
    rows = [{"key": f"{n:03d}", "outcomes": bytes(100)} for n in range(100)]
    put(storage, "evaluations", rows)
    file = Path(storage.path("tables", "evaluations", "000001.parquet"))
    data = bytearray(file.read_bytes())
    middle = pq.ParquetFile(file).metadata.row_group(5).column(0)
    data[middle.dictionary_page_offset or middle.data_page_offset] ^= 0xFF
    file.write_bytes(bytes(data))
    assert Tables(storage).read("evaluations").empty
    put(storage, "evaluations", [{"key": "new"}])
    assert len(Tables(storage).read("evaluations")) == 91
    put(storage, "evaluations", rows)
    assert len(Tables(storage).read("evaluations")) == 101
    assert Tables(storage).faults("evaluations") == []


@pytest.mark.parametrize(("table", "row", "step"), [
    ("trials", {**trial("k"), "criterion": "l1", "finetuned_pgd_20": 0.4}, 97),
    ("evaluations", {"key": "k", "accuracy": 0.4, "outcomes": b"abc", "attack": "pgd-20"}, 37),
])  # fmt: skip
def test_a_flipped_bit_is_noticed_or_changes_nothing(
    table: str, row: dict[str, object], step: int, storage: Storage
) -> None:
    """A bit of every few bytes of a file; checksums cover what statistics do not."""
    put(storage, table, [row])
    tables, name = Tables(storage), ("tables", table, "000001.parquet")
    whole, good = storage.read(*name), tables.arrow(table)
    noticed = 0
    for place, bit in zip(range(0, len(whole), step), itertools.cycle((0x01, 0x80))):
        data = bytearray(whole)
        data[place] ^= bit
        storage.write(bytes(data), *name)
        found = tables.arrow(table)
        noticed += found.num_rows == 0
        assert found.num_rows == 0 or found.equals(good)
    assert noticed > len(whole) / step / 2


def test_a_flipped_bit_of_the_log_is_noticed(storage: Storage) -> None:
    put(storage, "trials", [trial("k")], fold=False)
    (name,) = storage.names("log")
    whole = storage.read("log", name)
    for place in range(0, len(whole), 11):
        data = bytearray(whole)
        data[place] ^= 0x04
        storage.write(bytes(data), "log", name)
        assert Tables(storage).read("trials").empty
        assert len(Tables(storage).read("jobs")) == 0


def test_a_table_of_an_older_mrsweep_reads_with_nulls(storage: Storage) -> None:
    put(storage, "jobs", [{"key": "k", "attempt": 1, "status": "done"}])
    path = storage.path("tables", "jobs", "000001.parquet")
    old = pq.read_table(path).drop_columns(["seconds", "gpus"])
    pq.write_table(old.replace_schema_metadata(None), path)
    for fold in (False, True):
        put(storage, "jobs", [{"key": "l", "attempt": 1, "seconds": 2.0}], fold)
        found = Tables(storage).read("jobs", ["key", "seconds"])
        assert found["key"].tolist() == ["k", "l"]
        assert found["seconds"].isna().tolist() == [True, False]
    assert "gpus" in pq.read_table(path).column_names


def test_an_older_table_is_migrated(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version whose seed was called ``run``, read by the next one, which renames it."""
    file = Path(storage.path("tables", "trials", "000001.parquet"))
    file.parent.mkdir(parents=True)
    old = pa.table({"trial_id": ["k"], "status": ["done"], "run": [3], "finetuned_clean": [0.5]})
    pq.write_table(old.replace_schema_metadata({"mrsweep.version": str(VERSION)}), file)

    def rename(table: str, rows: pa.Table) -> pa.Table:
        names = ["seed" if name == "run" else name for name in rows.column_names]
        return rows.rename_columns(names) if table == "trials" else rows

    put(storage, "trials", [{"trial_id": "m", "status": "done", "run": 5}], fold=False)
    migrations = (*results.tables.schema.MIGRATIONS, rename)
    monkeypatch.setattr(results.tables.schema, "MIGRATIONS", migrations)
    monkeypatch.setattr(results.tables.schema, "VERSION", VERSION + 1)
    put(storage, "trials", [trial("l", seed=4)], fold=False)
    tables, both = Tables(storage), [["k", 3], ["l", 4], ["m", 5]]
    for _ in range(2):
        assert tables.read("trials")[["trial_id", "seed"]].to_numpy().tolist() == both
        assert tables.find("trials", "k")[0]["seed"] == 3
        assert tables.read("trials", ["seed"])["seed"].tolist() == [3, 4, 5]
        assert tables.faults("trials") == []
        Folder(storage).fold()
    assert pq.read_table(file)["seed"].to_pylist() == [3, 4, 5]


def test_faults_are_named_and_nothing_is_changed(storage: Storage) -> None:
    put(storage, "trials", [trial("a")])
    file = Path(storage.path("tables", "trials", "000001.parquet"))
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    (fault,) = Tables(storage).faults("trials")
    assert str(file) in fault
    assert "cannot be read" in fault
    assert storage.names("tables", "trials") == ["000001.parquet"]
