"""Tables: rows written once, read by anyone, damage and other versions noticed."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import results.tables.schema
import results.tables.store
from results.errors import TableError
from results.tables.schema import (
    VERSION,
)
from results.tables.storage import Storage
from results.tables.store import Tables


def trial(name: str, status: str = "done", **more: object) -> dict[str, object]:
    return {"trial_id": name, "status": status, "seed": 0, "finetuned_clean": 0.5, **more}


def test_tables_are_written_once(storage: Storage) -> None:
    tables = Tables(storage)
    tables.write("trials", "k", [trial("k")])
    tables.write("trials", "k", [trial("k", finetuned_clean=0.9)])
    assert tables.read("trials")["finetuned_clean"].tolist() == [0.5]
    tables.write("trials", "k", [trial("k", "failed")], over="failed")
    assert tables.find("trials", "k")[0]["status"] == "done"  # a done row gives way to none
    tables.write("trials", "f", [trial("f", "failed")])
    tables.write("trials", "f", [trial("f")], over="failed")
    assert tables.find("trials", "f")[0]["status"] == "done"
    assert tables.find("trials", "other") is None
    assert tables.read("trials")["trial_id"].tolist() == ["f", "k"]


def test_the_bare_folder_reads_with_pandas_duckdb_and_polars(storage: Storage) -> None:
    tables = Tables(storage)
    for i in range(5):
        tables.write("trials", f"k{i}", [trial(f"k{i}", seed=i)])
    folder = storage.path("tables", "trials")
    assert sorted(pd.read_parquet(folder)["seed"]) == [0, 1, 2, 3, 4]
    query = f"select sum(seed) from '{folder}/*.parquet'"  # noqa: S608 - a path of the test's own
    assert duckdb.sql(query).fetchall() == [(10,)]
    assert pl.read_parquet(f"{folder}/*.parquet")["seed"].sum() == 10


def test_readers_never_see_a_part_while_a_writer_writes(storage: Storage) -> None:
    tables = Tables(storage)
    tables.write("trials", "first", [trial("first")])
    stop = threading.Event()

    def write() -> None:
        for i in range(150):
            tables.write("trials", f"k{i}", [trial(f"k{i}")])
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    sizes = []
    while not stop.is_set():
        sizes.append(len(pd.read_parquet(storage.path("tables", "trials"))))
    writer.join()
    assert sizes == sorted(sizes)
    assert len(tables.read("trials")) == 151


def test_sweeps_with_other_attacks_share_a_table(storage: Storage) -> None:
    tables = Tables(storage)
    tables.write("trials", "a", [trial("a", finetuned_fgsm=0.1)])
    tables.write("trials", "b", [trial("b", finetuned_pgd_20=0.2)])
    frame = tables.read("trials")
    assert frame["finetuned_fgsm"].notna().tolist() == [True, False]
    assert frame["finetuned_pgd_20"].notna().tolist() == [False, True]


def test_a_newer_file_is_refused(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = Tables(storage)
    tables.write("trials", "k", [trial("k")])
    monkeypatch.setattr(results.tables.schema, "VERSION", VERSION - 1)
    with pytest.raises(TableError, match="install a newer one"):
        tables.read("trials")


def test_a_damaged_file_is_named_and_left_out(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    tables = Tables(storage)
    tables.write("jobs", "k-1", [{"key": "k", "attempt": 1}])
    storage.write(b"PAR1 broken", "tables", "jobs", "x-1.parquet")
    assert tables.read("jobs")["key"].tolist() == ["k"]
    assert "x-1.parquet: it cannot be read" in caplog.text
    assert storage.exists("tables", "jobs", "x-1.parquet")  # a reader moves nothing


def test_who_writes_sets_it_aside_and_writes_anew(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    tables = Tables(storage, mend=True)
    for key in ("a", "b"):
        tables.write("trials", key, [trial(key)])
    whole = storage.read("tables", "trials", "a.parquet")
    storage.write(whole[: len(whole) // 2], "tables", "trials", "a.parquet")
    assert tables.find("trials", "a") is None
    assert storage.names("damaged", "trials") == ["a.parquet"]
    assert "moved to damaged/trials" in caplog.text
    tables.write("trials", "a", [trial("a")])
    assert tables.read("trials")["trial_id"].tolist() == ["a", "b"]


def test_a_flipped_bit_is_noticed_or_changes_nothing(storage: Storage) -> None:
    """A bit of every 37th byte of a file; checksums cover what statistics do not."""
    tables = Tables(storage)
    tables.write("trials", "k", [{**trial("k"), "finetuned_pgd_20": 0.4}])
    whole, good = storage.read("tables", "trials", "k.parquet"), tables.arrow("trials")
    noticed = 0
    for place, bit in zip(range(0, len(whole), 37), itertools.cycle((0x01, 0x80))):
        data = bytearray(whole)
        data[place] ^= bit
        storage.write(bytes(data), "tables", "trials", "k.parquet")
        found = tables.arrow("trials")
        noticed += found.num_rows == 0
        assert found.num_rows == 0 or found.equals(good)
    assert noticed > len(whole) / 37 / 2


def test_a_table_of_an_older_mrsweep_reads_with_nulls(storage: Storage) -> None:
    tables = Tables(storage)
    tables.write("jobs", "k-1", [{"key": "k", "attempt": 1, "status": "done"}])
    path = storage.path("tables", "jobs", "k-1.parquet")
    old = pq.read_table(path).drop_columns(["seconds", "gpus"])
    pq.write_table(old.replace_schema_metadata(None), path)
    tables.write("jobs", "l-1", [{"key": "l", "attempt": 1, "seconds": 2.0}])
    found = tables.read("jobs", ["key", "seconds"])
    assert found["key"].tolist() == ["k", "l"]
    assert found["seconds"].isna().tolist() == [True, False]


def test_an_older_table_is_migrated(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version 1 whose seed was called ``run``, read by a version 2 that renames it."""
    file = Path(storage.path("tables", "trials", "k.parquet"))
    file.parent.mkdir(parents=True)
    old = pa.table({"trial_id": ["k"], "status": ["done"], "run": [3], "finetuned_clean": [0.5]})
    pq.write_table(old.replace_schema_metadata({"mrsweep.version": "1"}), file)

    def rename(table: str, rows: pa.Table) -> pa.Table:
        names = ["seed" if name == "run" else name for name in rows.column_names]
        return rows.rename_columns(names) if table == "trials" else rows

    monkeypatch.setattr(results.tables.schema, "MIGRATIONS", (rename,))
    monkeypatch.setattr(results.tables.schema, "VERSION", 2)
    tables = Tables(storage)
    tables.write("trials", "l", [trial("l", seed=4)])
    assert tables.read("trials")[["trial_id", "seed"]].to_numpy().tolist() == [["k", 3], ["l", 4]]
    assert tables.read("trials", ["seed"])["seed"].tolist() == [3, 4]
    assert tables.faults("trials") == []


def test_faults_are_named_and_nothing_is_changed(storage: Storage) -> None:
    tables = Tables(storage)
    for name in "ab":
        tables.write("trials", name, [trial(name)])
    file = Path(storage.path("tables", "trials", "a.parquet"))
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    (fault,) = tables.faults("trials")
    assert str(file) in fault
    assert "cannot be read" in fault
    assert len(storage.names("tables", "trials")) == 2
