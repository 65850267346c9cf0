"""Storage, tables and artifacts: whole files or none, written once, damage noticed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import results.tables.schema
import results.tables.store
from orchestrator.state.artifacts import CHECKPOINT, Artifacts
from prune_core.specs.stage import NETWORK
from results.errors import StorageError, TableError
from results.tables.schema import (
    KEY,
    TABLES,
    VERSION,
)
from results.tables.storage import Storage
from results.tables.store import Tables


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "root"))


def trial(name: str, status: str = "done", **more: object) -> dict[str, object]:
    return {"trial_id": name, "status": status, "seed": 0, "finetuned_clean": 0.5, **more}


def test_a_file_appears_whole_and_leaves_nothing_beside_it(storage: Storage) -> None:
    storage.write(b"one", "a", "b.bin")
    storage.write(b"two", "a", "b.bin")
    assert storage.read("a", "b.bin") == b"two"
    assert os.listdir(storage.path("a")) == ["b.bin"]  # noqa: PTH208 - hidden files too
    assert storage.read("a", "none") is None
    assert storage.names("nowhere") == []
    storage.remove("a")
    storage.remove("a")
    assert not storage.exists("a")


def test_a_writer_killed_in_the_middle_leaves_no_readable_part(storage: Storage) -> None:
    code = (
        "import os, signal\n"
        "from results.tables.storage import Storage\n"
        "from fsspec.implementations.local import LocalFileSystem\n"
        "plain = LocalFileSystem.mv\n"
        "LocalFileSystem.mv = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"Storage({storage.root!r}).write(b'half', 'tables', 'trials', 'x.parquet')\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert storage.names("tables", "trials") == []
    assert Tables(storage).read("trials").empty


def test_a_full_disk_is_an_error_and_leaves_nothing(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str, data: bytes) -> None:
        Path(path).write_bytes(data[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.fs, "pipe_file", full)
    with pytest.raises(OSError, match="No space left"):
        storage.write(b"data", "a", "b.bin")
    assert os.listdir(storage.path("a")) == []  # noqa: PTH208 - hidden files too


@pytest.mark.parametrize("below", ["", "/sub/folder"])
def test_a_root_that_is_a_file_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=r"is a file"):
        Storage(str(tmp_path / "file") + below).check()


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(StorageError, match="cannot be opened"):
        Storage("nosuch://place")


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


def test_compaction_keeps_every_row_once(storage: Storage) -> None:
    tables = Tables(storage)
    for i in range(6):
        tables.write("trials", f"k{i}", [trial(f"k{i}", seed=i)])
    before = tables.read("trials")
    assert tables.compact("trials") == 6
    assert len(storage.names("tables", "trials")) == 1
    pd.testing.assert_frame_equal(before, tables.read("trials"))
    assert tables.find("trials", "k3")[0]["seed"] == 3
    tables.write("trials", "k3", [trial("k3", seed=30)])
    assert tables.read("trials")["seed"].tolist() == [0, 1, 2, 30, 4, 5]
    assert tables.compact("trials") == 2
    assert tables.read("trials")["seed"].tolist() == [0, 1, 2, 30, 4, 5]
    assert tables.compact("trials") == 0


def test_a_crash_between_the_steps_of_compaction_loses_and_doubles_nothing(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = Tables(storage)
    for i in range(3):
        tables.write("trials", f"k{i}", [trial(f"k{i}", seed=i)])

    def crash(*parts: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(storage, "remove", crash)
        with pytest.raises(KeyboardInterrupt):
            tables.compact("trials")
    assert len(storage.names("tables", "trials")) == 4
    assert tables.read("trials")["seed"].tolist() == [0, 1, 2]


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


def test_compaction_keeps_a_damaged_file(storage: Storage) -> None:
    tables = Tables(storage)
    for key in ("a", "b"):
        tables.write("trials", key, [trial(key)])
    storage.write(b"broken", "tables", "trials", "c.parquet")
    assert tables.compact("trials") == 2
    assert storage.read("tables", "trials", "c.parquet") == b"broken"
    assert tables.keys("trials") == {"a", "b", "c"}


def test_a_flipped_bit_is_noticed_or_changes_nothing(storage: Storage) -> None:
    """Every 37th byte of a file, two bits each; checksums cover what statistics do not."""
    tables = Tables(storage)
    tables.write("trials", "k", [{**trial("k"), "finetuned_pgd_20": 0.4}])
    whole, good = storage.read("tables", "trials", "k.parquet"), tables.arrow("trials")
    noticed = 0
    for place in range(0, len(whole), 37):
        for bit in (0x01, 0x80):
            data = bytearray(whole)
            data[place] ^= bit
            storage.write(bytes(data), "tables", "trials", "k.parquet")
            found = tables.arrow("trials")
            noticed += found.num_rows == 0
            assert found.num_rows == 0 or found.equals(good)
    assert noticed > len(whole) / 37


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


@pytest.mark.parametrize("parts", [("..", "x"), ("a/../../x",), ("a", ""), ("a\\b",)])
def test_no_path_leads_out_of_the_root(storage: Storage, parts: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="no path below a storage root"):
        storage.write(b"x", *parts)


def test_one_of_many_creates_a_file(storage: Storage) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda n: storage.create(str(n).encode(), "leases", "k"), range(16)))
    assert sum(made) == 1
    assert storage.read("leases", "k") == str(made.index(True)).encode()
    assert storage.names("leases") == ["k"]


def test_where_files_cannot_be_linked_one_still_creates(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: str) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(storage.fs, "link", unable)
    assert storage.create(b"1", "leases", "k")
    assert not storage.create(b"2", "leases", "k")
    assert storage.read("leases", "k") == b"1"


@pytest.fixture
def artifacts(storage: Storage) -> Artifacts:
    return Artifacts(storage)


TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([1, 2])}


def test_an_artifact_comes_back_as_it_was(artifacts: Artifacts) -> None:
    artifacts.save("dense", "k", NETWORK, TENSORS, {"x": [1, None]})
    assert artifacts.has("dense", "k")
    tensors, facts = artifacts.load("dense", "k", NETWORK)
    assert facts == {"x": [1, None]}
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    artifacts.drop("dense", "k", NETWORK)
    assert not artifacts.has("dense", "k")
    artifacts.save("dense", "k", CHECKPOINT, TENSORS, {})
    assert not artifacts.has("dense", "k")  # a checkpoint is no result


@pytest.mark.parametrize("position", ["start", "header", "end", "truncate", "empty"])
@pytest.mark.parametrize("kind", ["network", "facts"])
def test_a_damaged_artifact_reads_as_absent(
    artifacts: Artifacts, position: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    if kind == "network":
        artifacts.save("dense", "k", NETWORK, TENSORS, {"x": "some facts"})
        path = Path(artifacts.storage.path("artifacts", "dense", "k", NETWORK))
    else:
        artifacts.save_facts("sensitivity", "k", {"x": "some facts"})
        path = Path(artifacts.storage.path("artifacts", "sensitivity", "k", "facts.json"))
    data = bytearray(path.read_bytes())
    if position in ("truncate", "empty"):
        data = data[:-5] if position == "truncate" else data[:0]
    else:
        at = {"start": 2, "header": data.index(b"some"), "end": len(data) - 3}[position]
        data[at] ^= 1
    path.write_bytes(data)
    if kind == "network":
        assert artifacts.load("dense", "k", NETWORK) is None
    else:
        assert artifacts.load_facts("sensitivity", "k") is None
    assert not path.exists()
    assert "is damaged" in caplog.text


def test_files_hold_no_pickle(artifacts: Artifacts) -> None:
    artifacts.save("dense", "k", NETWORK, TENSORS, {"x": 1})
    data = artifacts.storage.read("artifacts", "dense", "k", NETWORK)
    assert data[8:9] == b"{"  # safetensors: a length, then JSON
    Tables(artifacts.storage).write("trials", "k", [trial("k")])
    assert pq.read_schema(artifacts.storage.path("tables", "trials", "k.parquet"))


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


def test_a_failed_trial_stays_out_of_compaction_so_that_its_second_try_is_kept(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = Tables(storage)
    for name, status in (("a", "done"), ("b", "failed"), ("c", "done")):
        tables.write("trials", name, [trial(name, status)])
    remove = storage.remove

    def meanwhile(*parts: str) -> None:
        tables.write("trials", "b", [trial("b", "done")], over="failed")
        remove(*parts)

    monkeypatch.setattr(storage, "remove", meanwhile)
    assert tables.compact("trials") == 2
    assert tables.read("trials")["status"].tolist() == ["done"] * 3


def test_every_table_is_compacted(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results.tables.store, "BATCH", 2)
    tables = Tables(storage)
    for table in TABLES:
        for number in range(5):
            key = {name: number if name in ("epoch", "attempt") else f"{name}{number}"
                   for name in KEY[table]}  # fmt: skip
            tables.write(table, str(number), [key])
        before = tables.read(table)
        assert tables.compact(table) == 5
        assert len(storage.names("tables", table)) == 1
        pd.testing.assert_frame_equal(tables.read(table), before)


def test_compaction_beside_a_writer_loses_and_doubles_nothing(storage: Storage) -> None:
    """A process writes 300 rows while this one compacts again and again."""
    code = (
        "from results.tables.storage import Storage\nfrom results.tables.store import Tables\n"
        f"tables = Tables(Storage({storage.root!r}))\n"
        "for n in range(300):\n"
        "    row = {'trial_id': f'{n:03d}', 'status': 'done', 'seed': n}\n"
        "    tables.write('trials', f'{n:03d}', [row])\n"
    )
    tables = Tables(storage)
    writer = subprocess.Popen([sys.executable, "-c", code])
    joined = 0
    while writer.poll() is None:
        joined += tables.compact("trials")
    assert writer.returncode == 0
    assert joined > 0
    assert tables.read("trials")["seed"].tolist() == list(range(300))


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


def test_a_row_that_is_compacted_while_it_is_looked_for_is_found(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, beside = Tables(storage), Tables(Storage(storage.root))
    for name in "abc":
        tables.write("trials", name, [trial(name)])
    exists = storage.exists

    def meanwhile(*parts: str) -> bool:
        found = exists(*parts)
        beside.compact("trials")
        return found

    monkeypatch.setattr(storage, "exists", meanwhile)
    assert tables.find("trials", "b")[0]["trial_id"] == "b"
    tables.write("trials", "d", [trial("d")])
    tables.write("trials", "d", [trial("d", seed=9)], over="failed")  # settled: nothing changes
    assert tables.read("trials")["seed"].tolist() == [0] * 4
