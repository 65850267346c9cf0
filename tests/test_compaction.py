"""Compaction: small files become one, and no row is lost or doubled meanwhile."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd
import pytest

import results.tables.schema
import results.tables.store
from results.tables.schema import (
    KEY,
    TABLES,
)
from results.tables.storage import Storage
from results.tables.store import Tables

from test_store import trial


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


def test_compaction_keeps_a_damaged_file(storage: Storage) -> None:
    tables = Tables(storage)
    for key in ("a", "b"):
        tables.write("trials", key, [trial(key)])
    storage.write(b"broken", "tables", "trials", "c.parquet")
    assert tables.compact("trials") == 2
    assert storage.read("tables", "trials", "c.parquet") == b"broken"
    assert tables.keys("trials") == {"a", "b", "c"}


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
