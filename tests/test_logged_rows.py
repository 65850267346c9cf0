"""Folding: rows go from the log into few files; none is lost, none is seen twice, whoever dies."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

import results.tables.file
import results.tables.rows
import results.tables.shelf
from orchestrator.state.leases import Leases
from orchestrator.state.upkeep import Upkeep, fold_all
from results.tables.fold import Folder
from results.tables.log import arrow
from results.tables.schema import KEY, TABLES
from results.tables.shelf import LostRightError
from results.tables.storage import Storage
from results.tables.store import Tables

from test_store import put, trial


def plain(storage: Storage, table: str = "trials") -> dict[str, list[dict[str, object]]]:
    """What four libraries read of the bare folder, rows in the order of their keys."""
    folder, by = storage.path("tables", table), list(KEY[table])
    frames = {
        "pandas": pd.read_parquet(folder),
        "pyarrow": pyarrow.dataset.dataset(folder).to_table().to_pandas(),
        "duckdb": duckdb.read_parquet(f"{folder}/*.parquet").to_arrow_table().to_pandas(),
        "polars": pl.read_parquet(f"{folder}/*.parquet").to_pandas(),
    }
    columns = {name: list(frame.columns) for name, frame in frames.items()}
    assert len({tuple(names) for names in columns.values()}) == 1, columns
    whole = {name: frame.sort_values(by).reset_index(drop=True) for name, frame in frames.items()}
    texts = {name: frame.astype(object).where(frame.notna(), None) for name, frame in whole.items()}
    return {name: frame.to_dict("records") for name, frame in texts.items()}


def old(storage: Storage, table: str, name: str, rows: Sequence[dict[str, object]]) -> None:
    """A file as mrsweep 1 wrote it: one a key, with the metrics of its own rows alone."""
    file = Path(storage.path("tables", table, f"{name}.parquet"))
    file.parent.mkdir(parents=True, exist_ok=True)
    written = arrow(table, rows)
    pq.write_table(written.replace_schema_metadata({"mrsweep.version": "1"}), file)


def test_every_library_reads_the_same_whatever_a_root_has_seen(storage: Storage) -> None:
    """Failed rows, two sweeps with other attacks, a root of an older mrsweep: one schema."""
    old(storage, "trials", "a", [trial("a", criterion="l1", finetuned_fgsm=0.25)])
    old(storage, "trials", "b", [{"trial_id": "b", "status": "failed", "criterion": "l2"}])
    put(storage, "trials", [{"trial_id": "c", "status": "failed", "criterion": "lamp"}])
    put(storage, "trials", [trial("d", criterion="l1", finetuned_pgd_20=0.5)])
    found = plain(storage)
    assert storage.names("tables", "trials") == ["000001.parquet"]
    for library, rows in found.items():
        shown = [
            tuple(row[name] for name in ("trial_id", "criterion", "finetuned_fgsm",
                                         "finetuned_pgd_20", "finetuned_clean"))
            for row in rows
        ]  # fmt: skip
        assert shown == [
            ("a", "l1", 0.25, None, 0.5), ("b", "l2", None, None, None),
            ("c", "lamp", None, None, None), ("d", "l1", None, 0.5, 0.5),
        ], library  # fmt: skip


def test_a_new_metric_goes_into_every_file(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results.tables.shelf, "FULL", 1)
    for number in range(3):
        put(storage, "trials", [trial(f"k{number}")])
    put(storage, "trials", [trial("k3", pruned_apgd=0.5)])
    assert len(storage.names("tables", "trials")) == 4
    assert [row["pruned_apgd"] for row in plain(storage)["duckdb"]] == [None, None, None, 0.5]


def test_levels_are_stored_by_dictionary(storage: Storage) -> None:
    put(storage, "trials", [trial("a", criterion="l1", architecture="vgg8")])
    schema = pq.read_schema(storage.path("tables", "trials", "000001.parquet"))
    for factor in ("architecture", "criterion", "allocation", "granularity", "finetuning"):
        assert pa.types.is_dictionary(schema.field(factor).type)
    folder = storage.path("tables", "trials")
    assert isinstance(pd.read_parquet(folder)["criterion"].dtype, pd.CategoricalDtype)
    assert Tables(storage).read("trials")["criterion"].tolist() == ["l1"]


def test_a_row_of_a_failed_trial_is_replaced_where_it_lies(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results.tables.shelf, "FULL", 1)
    put(storage, "trials", [trial("a", "failed"), trial("b")])
    put(storage, "trials", [trial("c")])
    put(storage, "trials", [trial("a", "done")])
    assert [row["status"] for row in plain(storage)["pandas"]] == ["done"] * 3
    assert len(storage.names("tables", "trials")) == 2


def test_of_two_that_wrote_a_key_one_is_kept(storage: Storage) -> None:
    rows = [{"network": "n", "epoch": epoch, "loss": 0.5} for epoch in (1, 2)]
    put(storage, "epochs", rows, fold=False)
    put(storage, "epochs", rows, fold=False)
    assert len(Tables(storage).read("epochs")) == 2
    assert Folder(storage).fold()["epochs"] == 4
    put(storage, "epochs", [*rows, {"network": "n", "epoch": 3, "loss": 0.5}])
    assert [row["epoch"] for row in plain(storage, "epochs")["polars"]] == [1, 2, 3]


def test_the_first_row_of_a_trial_that_is_done_stays(storage: Storage) -> None:
    put(storage, "trials", [trial("a", lr=0.1)])
    put(storage, "trials", [trial("a", lr=0.2)], fold=False)
    tables = Tables(storage)
    assert tables.read("trials")["lr"].tolist() == [0.1]
    assert [row["lr"] for row in tables.find("trials", "a") or []] == [0.1]
    Folder(storage).fold()
    assert tables.read("trials")["lr"].tolist() == [0.1]


def test_every_table_is_folded_and_so_are_an_older_mrsweep_s_files(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results.tables.rows, "BATCH", 2)
    tables = Tables(storage)
    for table in TABLES:
        for number in range(5):
            key = {name: number if name in ("epoch", "attempt") else f"{name}{number}"
                   for name in KEY[table]}  # fmt: skip
            if number < 3:
                old(storage, table, f"{key[KEY[table][0]]}", [key])
            else:
                put(storage, table, [key], fold=False)
    before = {table: tables.read(table) for table in TABLES}
    assert fold_all(storage) == dict.fromkeys(TABLES, 5)
    assert fold_all(storage) == dict.fromkeys(TABLES, 0)
    for table in TABLES:
        assert storage.names("tables", table) == ["000001.parquet"]
        pd.testing.assert_frame_equal(tables.read(table), before[table])
    assert not storage.names("log")


class Crash(BaseException):
    """A process that ends here."""


@pytest.mark.parametrize("stop", range(8))
def test_a_crash_at_any_step_loses_and_doubles_nothing(
    stop: int, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old files, a failed trial tried again and new rows; each change may be the last."""
    monkeypatch.setattr(results.tables.shelf, "FULL", 1)
    put(storage, "trials", [trial("a", "failed"), trial("b")])
    old(storage, "trials", "c", [trial("c")])
    old(storage, "trials", "d", [trial("d", "failed")])
    put(storage, "trials", [trial("a"), trial("d"), trial("e")], fold=False)
    put(storage, "jobs", [{"key": "a", "attempt": 1}], fold=False)
    steps = 0

    def counted(name: str) -> None:
        done = getattr(Storage, name)

        def step(self: Storage, *given: object) -> None:
            nonlocal steps
            steps += 1
            if steps == stop + 1:
                raise Crash
            done(self, *given)

        patch.setattr(Storage, name, step)

    with monkeypatch.context() as patch:
        for name in ("write_all", "remove_files", "move"):
            counted(name)
        if stop < 7:
            with pytest.raises(Crash):
                Folder(storage).fold()
        else:
            Folder(storage).fold()
    expected = [(name, "done") for name in "abcde"]
    trials = Tables(storage).read("trials")
    assert list(zip(trials["trial_id"], trials["status"], strict=True)) == expected
    assert Tables(storage).find("trials", "c")[0]["status"] == "done"
    files = Path(storage.path("tables", "trials")).glob("*.parquet")
    names = [name for file in files for name in pq.read_table(file)["trial_id"].to_pylist()]
    assert len(names) == len(set(names))
    Folder(storage).fold()
    for rows in plain(storage).values():
        assert [(row["trial_id"], row["status"]) for row in rows] == expected
    assert not storage.names("log")
    assert len(plain(storage, "jobs")["pandas"]) == 1


def test_who_has_lost_the_right_to_fold_changes_nothing(storage: Storage) -> None:
    put(storage, "trials", [trial("a")], fold=False)
    with pytest.raises(LostRightError):
        Folder(storage, may=lambda: False).fold()
    assert Tables(storage).read("trials")["trial_id"].tolist() == ["a"]
    assert not storage.names("tables", "trials")


def test_one_folds_at_a_time(storage: Storage) -> None:
    put(storage, "trials", [trial("a")], fold=False)
    with Leases(storage) as one, Leases(storage) as other:
        assert one.take("tables")
        assert Upkeep(storage, other).fold() is None
        one.release("tables")
        assert Upkeep(storage, other).fold()["trials"] == 1


WRITER = """
import sys
from results.tables.storage import Storage
from results.tables.store import Tables
first, root = int(sys.argv[1]), sys.argv[2]
for n in range(first, first + 100):
    tables = Tables(Storage(root))
    tables.write("trials", [{"trial_id": f"{n:03d}", "status": "done", "seed": n}])
    tables.commit()
"""


def test_two_that_fold_beside_two_that_write_lose_and_double_nothing(storage: Storage) -> None:
    """And every reader sees each row once, and no row go."""
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(first), storage.root])
        for first in (0, 100)
    ]
    folding = threading.Thread(
        target=lambda: [fold_all(storage) for _ in iter(lambda: busy(writers), False)]
    )
    folding.start()
    bare, whole = [0], [0]
    while busy(writers):
        fold_all(storage)
        if storage.names("tables", "trials"):
            files = storage.path("tables", "trials", "*.parquet")
            # Alone, for libraries that open a file twice may raise where it was replaced between.
            names = duckdb.read_parquet(files).to_arrow_table()["trial_id"].to_pylist()
            assert len(names) == len(set(names))
            bare.append(len(names))
        keys = Tables(storage).read("trials", ["trial_id"])["trial_id"]
        assert keys.is_unique
        whole.append(len(keys))
    folding.join()
    assert bare == sorted(bare)
    assert whole == sorted(whole)
    fold_all(storage)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert [row["seed"] for row in plain(storage)["pandas"]] == list(range(200))


def busy(writers: Sequence[subprocess.Popen[bytes]]) -> bool:
    return any(writer.poll() is None for writer in writers)


def test_a_row_is_found_by_reading_one_group(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results.tables.file, "GROUP", 10)
    rows = [{"key": f"{n:04d}", "accuracy": n / 500} for n in range(500)]
    put(storage, "evaluations", rows)
    read: list[int] = []
    whole = pq.ParquetFile.read_row_groups

    def counted(self: pq.ParquetFile, groups: list[int], *more: object) -> pa.Table:
        read.extend(groups)
        return whole(self, groups, *more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", counted)
    (row,) = Tables(storage).find("evaluations", "0123")
    assert row["accuracy"] == 0.246
    assert read == [12]
    assert Tables(storage).find("evaluations", "0123x") is None
    assert set(Tables(storage).find_all("evaluations", ["0001", "0499", "x"])) == {"0001", "0499"}
