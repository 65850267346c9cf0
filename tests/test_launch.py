"""Whole sweeps in-process: nothing computed twice, nothing lost, failures as rows."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import results
from orchestrator.driver.launch import Launch
from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import parse_sweep
from orchestrator.worker.job import perform
from results.tables.storage import Storage
from results.tables.store import Tables

from conftest import EVERY_EPOCH, Silent, run_sweep, sweep_text

MEASURED = ["finetune_seconds", "evaluate_seconds", "node", "finished"]


def trials(root: Path) -> pd.DataFrame:
    frame = Tables(Storage(str(root))).read("trials")
    return frame.drop(columns=MEASURED)


def jobs(root: Path) -> pd.DataFrame:
    return Tables(Storage(str(root))).read("jobs")


@pytest.fixture
def done(undisturbed: Path, tmp_path: Path) -> Path:
    """The tiny sweep's storage root, to be changed."""
    return Path(shutil.copytree(undisturbed, tmp_path / "done"))


def test_every_trial_has_its_row(done: Path) -> None:
    frame = trials(done)
    assert len(frame) == 8
    assert set(frame["status"]) == {"done"}
    for stage in ("dense", "pruned", "finetuned"):
        for metric in ("clean", "fgsm"):
            assert frame[f"{stage}_{metric}"].between(0, 1).all()
    assert (frame["params_removed"] - 0.5).abs().max() < 0.01
    assert frame["shortfall"].isna().all()
    assert frame.groupby("seed")["kept_units"].nunique().tolist() == [2, 2]  # one a criterion
    assert (frame["classes"] == 10).all()
    assert (frame["train_images"] == 360).all()  # a tenth of 40 a class is held out
    assert (frame.groupby("pruned_network")["kept_units"].nunique() == 1).all()
    none = frame[frame["finetuning"] == "none"]
    assert (none["finetuned_clean"] == none["pruned_clean"]).all()
    assert none["objective"].isna().all()
    tuned = frame[frame["finetuning"] == "standard"]
    assert (tuned["finetuned_clean"] > tuned["pruned_clean"] + 0.1).all()
    assert set(tuned["reported_epoch"]) == {2}


def test_every_stage_ran_once_and_trials_of_a_seed_share_its_dense_network(done: Path) -> None:
    found = jobs(done)
    assert Counter(found["kind"]) == {"dense": 2, "prune": 4, "trial": 8}
    assert found["key"].is_unique
    frame = trials(done)
    assert frame.groupby("seed")["dense_clean"].nunique().tolist() == [1, 1]
    assert frame.groupby("seed")["dense_network"].nunique().tolist() == [1, 1]


def test_outcomes_by_example_agree_with_accuracies(done: Path) -> None:
    loaded = results.load(str(done), sweep="tiny")
    found = loaded.evaluations
    assert set(found["count"]) == {100}
    for row in found.itertuples():
        bits = np.unpackbits(np.frombuffer(row.outcomes, dtype=np.uint8))[: row.count]
        assert bits.mean() == pytest.approx(row.accuracy)
    # dense 2, pruned 4, fine-tuned 4; clean and fgsm each
    assert Counter(found["stage"]) == {"dense": 4, "pruned": 8, "finetuned": 8}
    assert found["key"].is_unique


def test_tables_of_modules_and_epochs(done: Path) -> None:
    loaded = results.load(str(done), sweep="tiny")
    assert loaded.modules.groupby("network").size().tolist() == [6] * 4
    assert (loaded.modules["ratio"] > 0).all()
    for kept, width in loaded.modules[["kept", "width_after"]].to_numpy():
        assert int.from_bytes(kept).bit_count() == width
    epochs = loaded.epochs.groupby(["stage", "network"])["epoch"].agg(list)
    assert epochs["dense"].tolist() == [[1, 2]] * 2
    assert epochs["finetuned"].tolist() == [[1, 2]] * 4


def test_a_relaunch_does_nothing(done: Path) -> None:
    before = jobs(done)
    assert run_sweep(sweep_text(), done).outcomes == []
    pd.testing.assert_frame_equal(jobs(done), before)


def test_an_extension_computes_only_what_is_new(done: Path) -> None:
    first = trials(done)
    told = run_sweep(sweep_text(criteria="[random, l1, lamp]"), done)
    assert Counter(kind for kind, _ in told.outcomes) == {"prune": 2, "trial": 4}
    after = trials(done)
    pd.testing.assert_frame_equal(after[after["criterion"] != "lamp"].reset_index(drop=True), first)


def test_a_level_is_called_what_each_sweep_calls_it(done: Path) -> None:
    renamed = sweep_text(name="other", finetuning="{zero: {epochs: 0}, two: {epochs: 2, lr: 0.05}}")
    assert run_sweep(renamed, done).outcomes == []  # the same trials
    assert set(results.load(str(done), sweep="other").trials["finetuning"]) == {"zero", "two"}
    assert set(results.load(str(done), sweep="tiny").trials["finetuning"]) == {"none", "standard"}


def test_a_criterion_of_the_user_s_runs_like_a_built_in(tmp_path: Path) -> None:
    text = sweep_text(criteria="['outside:smallest_first', 'outside:signed', l1]", seeds="1")
    run_sweep(text, tmp_path)
    frame = trials(tmp_path)
    assert len(frame) == 6
    assert set(frame["status"]) == {"done"}


def test_a_raising_criterion_is_failed_rows_and_the_rest_finishes(
    tmp_path: Path, undisturbed: Path
) -> None:
    text = sweep_text(criteria="[random, l1, 'outside:raises']")
    told = run_sweep(text, tmp_path)
    frame = trials(tmp_path)
    failed = frame[frame["status"] == "failed"]
    assert set(failed["criterion"]) == {"outside:raises"}
    assert len(failed) == 4
    assert failed["error"].str.contains("RuntimeError: this criterion is broken").all()
    assert failed["finetuned_clean"].isna().all()
    rest = frame[frame["status"] == "done"].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, trials(undisturbed), check_dtype=False)
    assert Counter(status for _, status in told.outcomes) == {"done": 14, "failed": 2}
    broken = jobs(tmp_path).query("status == 'failed'")
    assert broken["error"].str.contains("Traceback").all()
    # Failed rows are finished rows, until someone asks for another try.
    assert run_sweep(text, tmp_path).outcomes == []
    again = run_sweep(text, tmp_path, retry_failed=True)
    assert Counter(status for _, status in again.outcomes) == {"failed": 2}
    assert jobs(tmp_path).query("status == 'failed'")["attempt"].tolist() == [1, 2, 1, 2]


def test_a_diverging_loss_is_a_failed_row(tmp_path: Path) -> None:
    wild = "{none: {epochs: 0}, wild: {epochs: 2, lr: 1e9}}"
    run_sweep(sweep_text(finetuning=wild, seeds="1"), tmp_path)
    frame = trials(tmp_path).set_index("finetuning")
    assert set(frame.loc["wild", "status"]) == {"failed"}
    assert frame.loc["wild", "error"].str.contains("DivergedError: the loss was").all()
    assert set(frame.loc["none", "status"]) == {"done"}
    assert set(jobs(tmp_path).query("status == 'failed'")["attempt"]) == {1}  # no retry helps
    assert not list(tmp_path.glob("artifacts/finetune/*/checkpoint*"))


def test_memory_that_ran_out_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MRSWEEP_TEST_MARK", str(tmp_path / "mark"))
    text = sweep_text(criteria="['outside:out_of_memory_once']", seeds="1")
    told = run_sweep(text, tmp_path / "root")
    assert ("scores", "failed") in told.outcomes
    frame = jobs(tmp_path / "root").query("kind == 'scores'")
    assert frame["status"].tolist() == ["failed", "done"]
    assert frame["attempt"].tolist() == [1, 2]
    assert set(trials(tmp_path / "root")["status"]) == {"done"}


@pytest.mark.parametrize("stage", ["dense", "prune"])
def test_a_damaged_artifact_is_computed_again(stage: str, done: Path, undisturbed: Path) -> None:
    for file in done.glob(f"artifacts/{stage}/*/network.safetensors"):
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    for file in done.glob("tables/trials/*"):
        file.unlink()
    for file in done.glob("tables/evaluations/*"):
        file.unlink()
    run_sweep(sweep_text(), done)
    pd.testing.assert_frame_equal(trials(done), trials(undisturbed))


def test_a_sweep_drops_no_network_that_another_kept(done: Path) -> None:
    kept = sorted(done.glob("artifacts/*/*/*.safetensors"))
    run_sweep(sweep_text(name="other", keep="[]", criteria="[random, l1, l2]"), done)
    assert sorted(done.glob("artifacts/*/*/*.safetensors")) == kept


class Stopped(BaseException):
    """No Exception, so that no job takes it for a failure of its own."""


@pytest.mark.parametrize("stop_at", range(1, 9))
def test_stopped_anywhere_it_goes_on_to_the_same_table(
    stop_at: int, tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop at the nth file that is written, whatever it is: a checkpoint, a row, a network."""
    plain, count, text = Storage.write_all, 0, sweep_text(seeds="1", resources=EVERY_EPOCH)

    def counting(self: Storage, files: Sequence[tuple[tuple[str, ...], bytes]]) -> None:
        nonlocal count
        count += files[0][0][0] != "sweeps"
        if count == 3 * stop_at:
            raise Stopped
        plain(self, files)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "write_all", counting)
        with pytest.raises(Stopped):
            run_sweep(text, tmp_path)
    finished = set(trials(tmp_path)["trial_id"])
    told = run_sweep(text, tmp_path)
    expected = trials(undisturbed).query("seed == 0").reset_index(drop=True)
    pd.testing.assert_frame_equal(trials(tmp_path), expected)
    assert sum(kind == "trial" for kind, _ in told.outcomes) == 4 - len(finished)
    assert isinstance(told, Silent)


def test_a_resumed_job_says_from_which_epoch(tmp_path: Path) -> None:
    text = sweep_text(criteria="[l1]", seeds="1", resources=EVERY_EPOCH)
    plain = Storage.write

    def stop_after_one_epoch(self: Storage, data: bytes, *parts: str) -> None:
        plain(self, data, *parts)
        if parts[-1] == "checkpoint.safetensors" and parts[1] == "finetune":
            raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Storage, "write", stop_after_one_epoch)
        with pytest.raises(Stopped):
            run_sweep(text, tmp_path)
    run_sweep(text, tmp_path)
    frame = jobs(tmp_path).query("kind == 'trial'")
    assert sorted(frame["resumed_epoch"]) == [0, 1]


def test_the_sweep_s_folder_holds_the_file_and_the_plan(done: Path) -> None:
    assert (done / "sweeps/tiny/sweep.yaml").read_text() == sweep_text()
    plan = pd.read_parquet(done / "sweeps/tiny/plan.parquet")
    assert set(plan["trial_id"]) == set(make_plan(parse_sweep(sweep_text())).trials)


def test_what_another_driver_does_is_seen_while_there_is_other_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its dense network's cells, and what is done of them, were found when all else was done."""
    plan, storage = make_plan(parse_sweep(sweep_text())), Storage(str(tmp_path))
    monkeypatch.setattr("orchestrator.driver.launch.POLL", 0.0)
    with contextlib.ExitStack() as stack:
        one, other = (Launch(plan, storage, "cpu", Silent()) for _ in range(2))
        for launch in (one, other):
            stack.enter_context(launch.leases)
        theirs = other.take()
        assert theirs is not None
        other.leases.take(theirs.job.lease)
        ours = one.take()
        assert ours is not None
        assert {theirs.job.kind, ours.job.kind} == {"dense"}
        assert theirs.job.key != ours.job.key
        for launch, order in ((other, theirs), (one, ours)):
            launch.report(perform(order))
        assert one.take() is not None
        assert one.scheduler.done == {theirs.job.key, ours.job.key}
