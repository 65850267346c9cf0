"""Epochs in their table while their training goes on: each once, and exact, whatever happens."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import results.tables.log
from orchestrator.driver.launch import Launch
from orchestrator.planning.attempt import Beat, Order
from orchestrator.planning.plan import make_plan
from orchestrator.state.upkeep import fold_all
from orchestrator.sweepfile.model import parse_sweep
from orchestrator.worker.job import perform
from results import load
from results.tables.fold import Folder
from results.tables.storage import Storage
from results.tables.store import Tables

from conftest import Silent, sweep_text

TEXT = sweep_text(
    dense="{objective: standard, epochs: 3, selection: validation}", seeds="1", criteria="[l1]"
)


class KilledError(BaseException):
    """A worker that dies: no code of its own runs any more."""


def dense_order(root: Path) -> Order:
    plan = make_plan(parse_sweep(TEXT))
    (dense,) = [job for job in plan.jobs.values() if job.kind == "dense"]
    return Order(dense, str(root), "cpu", checkpoint_every=0)


def dies_after(epochs: int, order: Order) -> None:
    def tell(beat: Beat) -> None:
        if beat.doing.startswith(f"epoch {epochs}/"):
            raise KilledError

    with pytest.raises(KilledError):
        perform(order, tell=tell)


def told(epochs: pd.DataFrame) -> list[tuple[int, object]]:
    reported = [None if pd.isna(each) else bool(each) for each in epochs["reported"]]
    return list(zip(epochs["epoch"], reported, strict=True))


@pytest.mark.parametrize("folded", [True, False])
def test_an_epoch_is_a_row_as_it_ends_and_its_training_s_end_completes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folded: bool
) -> None:
    monkeypatch.setattr(results.tables.log, "PATIENCE", -1.0)
    order = dense_order(tmp_path / "struck")
    storage = Storage(order.root)
    dies_after(2, order)
    if folded:
        fold_all(storage)
    assert told(load(order.root).epochs) == [(1, None), (2, None)]
    assert perform(order).status == "done"
    struck = load(order.root).epochs
    whole = dense_order(tmp_path / "whole")
    perform(whole)
    undisturbed = load(whole.root).epochs
    assert undisturbed["reported"].sum() == 1
    times = ["seconds", "images_per_second"]
    pd.testing.assert_frame_equal(struck.drop(columns=times), undisturbed.drop(columns=times))
    fold_all(storage)
    plain = pd.read_parquet(Path(order.root) / "tables" / "epochs")
    assert told(plain) == told(undisturbed)


def test_rows_that_a_worker_took_with_it_come_with_the_next_one(tmp_path: Path) -> None:
    """Those of short epochs wait for one another: a worker that dies in between loses them."""
    order = dense_order(tmp_path)
    dies_after(2, order)
    assert Tables(Storage(order.root)).find("epochs", order.job.key) is None
    assert perform(order).status == "done"
    assert load(order.root).epochs["epoch"].tolist() == [1, 2, 3]


def test_rows_of_a_training_that_goes_on_are_replaced_in_whichever_file_they_lie(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    import results.tables.shelf

    monkeypatch.setattr(results.tables.shelf, "FULL", 1)

    def put(*rows: tuple[int, bool | None]) -> None:
        tables = Tables(storage)
        tables.write(
            "epochs", [{"network": "n", "epoch": epoch, "reported": told} for epoch, told in rows]
        )
        tables.commit()
        Folder(storage).fold()

    put((1, None))
    put((2, None))
    put((1, False), (2, False), (3, True))
    put((2, None))  # of a second attempt at the same training, which is slower
    assert len(storage.names("tables", "epochs")) == 3
    plain = pd.read_parquet(storage.path("tables", "epochs")).sort_values("epoch")
    assert told(plain) == told(Tables(storage).read("epochs"))
    assert told(plain) == [(1, False), (2, False), (3, True)]


def test_epochs_are_folded_while_no_job_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads the bare Parquet files sees a long training too."""
    monkeypatch.setattr(results.tables.log, "PATIENCE", -1.0)
    launch = Launch(make_plan(parse_sweep(TEXT)), Storage(str(tmp_path)), "cpu", Silent())
    order = launch.take()
    assert order is not None
    with launch.leases:
        dies_after(1, order)
        row = {"network": order.job.key, "epoch": 1}
        launch.hear(Beat(order.job.key, order.attempt, "host", 17, epoch=row))
    assert pd.read_parquet(tmp_path / "tables" / "epochs")["epoch"].tolist() == [1]


def test_whoever_writes_a_training_reads_how_it_ended(storage: Storage) -> None:
    tables = Tables(storage)
    for reported in (None, True, None):
        tables.write("epochs", [{"network": "n", "epoch": 1, "reported": reported}])
        if reported is None:
            tables.commit()
    assert [row["reported"] for row in tables.find("epochs", "n") or []] == [True]
