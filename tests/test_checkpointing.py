"""Checkpoints: beside the training, now and then, one at a time, no fault of the writer lost."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from orchestrator.planning.attempt import Beat, Order
from orchestrator.planning.plan import make_plan
from orchestrator.state.artifacts import CHECKPOINT, Artifacts
from orchestrator.sweepfile.model import SweepFileError, parse_sweep
from orchestrator.worker import checkpoints as module
from orchestrator.worker.checkpoints import Checkpoints
from orchestrator.worker.job import perform
from prune_core.specs.stage import NETWORK
from prune_core.training.history import Checkpoint
from prune_core.training.loop import _Run
from results.errors import StorageIOError
from results.tables.storage import Storage
from results.tables.store import Tables

from conftest import dense_stage, sweep_text

STAGE = dense_stage()
WEIGHTS = Checkpoint({"network.w": torch.ones(3)})


def order_of(root: Path, every: float, epochs: int = 4) -> Order:
    """A dense network's job; without evaluation."""
    text = sweep_text(dense=f"{{objective: standard, epochs: {epochs}, lr: 0.05}}", seeds="1")
    job = next(j for j in make_plan(parse_sweep(text)).jobs.values() if j.kind == "dense")
    return Order(job, str(root), "cpu", checkpoint_every=every)


def weights_of(root: Path, order: Order) -> dict[str, torch.Tensor]:
    found = Artifacts(Storage(str(root))).load("dense", order.job.key, NETWORK)
    assert found is not None
    return found[0]


def noted_copies(patch: pytest.MonkeyPatch) -> list[int]:
    """The epochs that are copied from now on."""
    plain, copied = _Run.checkpoint, list[int]()

    def noting(self: _Run) -> Checkpoint:
        copied.append(len(self.history))
        return plain(self)

    patch.setattr(_Run, "checkpoint", noting)
    return copied


def slow_writes(patch: pytest.MonkeyPatch, until: threading.Event, seconds: float = 20.0) -> None:
    """Have checkpoints wait in the writing."""
    plain = Storage.write

    def waiting(self: Storage, data: bytes, *parts: str) -> None:
        assert parts[-1] != CHECKPOINT or until.wait(seconds)
        plain(self, data, *parts)

    patch.setattr(Storage, "write", waiting)


def test_an_epoch_is_copied_only_where_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = noted_copies(monkeypatch)
    assert perform(order_of(tmp_path / "a", every=60)).status == "done"
    assert copied == [4]
    assert perform(order_of(tmp_path / "b", every=0)).status == "done"
    assert copied == [4, 1, 2, 3, 4]


def test_from_a_notice_on_every_epoch_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied, leaving = noted_copies(monkeypatch), threading.Event()

    def tell(beat: Beat) -> None:
        if beat.doing == "epoch 1/4":
            leaving.set()

    assert perform(order_of(tmp_path, every=60), tell=tell, leaving=leaving).status == "done"
    assert copied == [2, 3, 4]


def test_they_are_as_far_apart_as_is_asked(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    kept = Checkpoints(Artifacts(storage), every=60.0)
    due = []
    for now in (1059.0, 1061.0, 1120.0, 1122.0):  # noqa: B007 - read by the clock
        due.append(kept.due(last=False))
        if due[-1]:
            kept.save(STAGE, WEIGHTS)
            kept.finish()
    assert due == [False, True, False, True]
    assert kept.due(last=True)


def test_a_training_goes_on_while_one_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied, written = noted_copies(monkeypatch), threading.Event()
    slow_writes(monkeypatch, written)

    def tell(beat: Beat) -> None:
        if beat.doing == "epoch 3/4":
            written.set()

    assert perform(order_of(tmp_path, every=1e-9), tell=tell).status == "done"
    assert copied[0] == 1  # and its writing waited for the third epoch's end
    assert copied[-1] == 4
    assert 2 not in copied


def test_none_is_begun_before_the_last_is_written_nor_left_behind(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, at_once, most = Storage.write, 0, 0
    go = threading.Event()

    def counting(self: Storage, data: bytes, *parts: str) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        go.wait(0.05)
        plain(self, data, *parts)
        at_once -= 1

    monkeypatch.setattr(Storage, "write", counting)
    kept = Checkpoints(Artifacts(storage))
    for _ in range(3):
        kept.save(STAGE, WEIGHTS)
    kept.drop(STAGE)
    assert most == 1
    assert not storage.has("artifacts", STAGE.kind, STAGE.key, CHECKPOINT)


def refusing(patch: pytest.MonkeyPatch) -> None:
    plain = Storage.write

    def full(self: Storage, data: bytes, *parts: str) -> None:
        if parts[-1] == CHECKPOINT:
            raise StorageIOError(28, "No space left")
        plain(self, data, *parts)

    patch.setattr(Storage, "write", full)


@pytest.mark.parametrize("every", [0.0, 60.0])
def test_what_writing_fails_with_fails_the_job(
    every: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not the trial: storage did, which is asked again."""
    order = order_of(tmp_path, every)
    with monkeypatch.context() as patch:
        refusing(patch)
        ended = perform(order)
    assert (ended.status, ended.cause) == ("failed", "storage")
    assert "No space left" in str(ended.error)
    assert Tables(Storage(str(tmp_path))).find("jobs", order.job.key) is None
    assert perform(order).status == "done"


def test_an_error_of_the_job_comes_first(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing() -> None:
        with Checkpoints(Artifacts(storage)) as kept:
            kept.save(STAGE, WEIGHTS)
            raise ValueError("its own")

    refusing(monkeypatch)
    with pytest.raises(ValueError, match="its own") as failed:
        failing()
    assert "No space left" in failed.value.__notes__[0]


@pytest.mark.parametrize("every", [0.0, 60.0])
def test_a_killed_training_ends_bit_for_bit_the_same(every: float, tmp_path: Path) -> None:
    class KilledError(BaseException):
        pass

    def tell(beat: Beat) -> None:
        if beat.doing == "epoch 3/4":
            raise KilledError

    order = order_of(tmp_path / "struck", every)
    with pytest.raises(KilledError):
        perform(order, tell=tell)
    told: list[int] = []
    ended = perform(order, tell=lambda beat: told.append(beat.resumed_epoch))
    assert ended.status == "done"
    assert told[-1] == (0 if every == 60 else 3)
    perform(order_of(tmp_path / "whole", 60))
    struck, whole = (weights_of(tmp_path / name, order) for name in ("struck", "whole"))
    assert all(torch.equal(whole[name], tensor) for name, tensor in struck.items())


def test_how_often_is_a_setting_in_no_key() -> None:
    plans = [
        make_plan(parse_sweep(sweep_text(resources=f"{{checkpoint_every: {every}}}")))
        for every in ("0", "5m", "90s")
    ]
    assert len({tuple(plan.jobs) for plan in plans}) == 1
    assert [plan.sweep.resources.checkpoint_every for plan in plans] == [0, 300, 90]
    with pytest.raises(SweepFileError, match="checkpoint_every"):
        parse_sweep(sweep_text(resources="{checkpoint_every: -1}"))
