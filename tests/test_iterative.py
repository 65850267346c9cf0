"""Iterative pruning through whole sweeps: rounds, their budget, going on within one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from prune_core.training import loop as training
from results.tables.storage import Storage
from results.tables.store import Tables

from conftest import run_sweep, sweep_text
from test_launch import Stopped, trials

ITERATIVE = sweep_text(
    criteria="[taylor]",
    granularities="[channel, weight, '2:4']",
    finetuning="{i: {objective: standard, policy: iterative, rounds: 2, epochs: 3, lr: 0.02}}",
    seeds="1",
)


@pytest.fixture(scope="module")
def iterative(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("iterative")
    run_sweep(ITERATIVE, root)
    return root


def test_iterative_pruning_meets_the_budget_of_the_dense_network(iterative: Path) -> None:
    frame = trials(iterative)
    assert set(frame["status"]) == {"done"}
    assert (frame["params_removed"] - 0.5).abs().max() <= 0.01
    assert frame["shortfall"].isna().all()
    assert set(frame["rounds"]) == {2}
    assert set(frame["epochs"]) == {3}
    assert (
        frame["channels_removed"].notna().tolist() == (frame["granularity"] == "channel").tolist()
    )
    modules = Tables(Storage(str(iterative))).read("modules")
    last = modules[modules["network"].isin(frame["pruned_network"])]
    assert (last["width_before"] > last["width_after"]).any()
    assert not list(iterative.glob("artifacts/finetune/*/checkpoint*"))


def test_iterative_pruning_stopped_in_its_second_round_goes_on(
    iterative: Path, tmp_path: Path
) -> None:
    """To the same rows; the first round does not run again, nor does an epoch of the second."""
    plain, checkpoints = Storage.write, 0

    def stop_late(self: Storage, data: bytes, *parts: str) -> None:
        nonlocal checkpoints
        plain(self, data, *parts)
        checkpoints += parts[:2] == ("artifacts", "finetune")
        if checkpoints == 2:  # the first round's only epoch, and one of the second round's two
            raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Storage, "write", stop_late)
        with pytest.raises(Stopped):
            run_sweep(ITERATIVE, tmp_path)
    fitted: list[tuple[int, int]] = []
    fit = training.fit

    def noting(network, data, recipe, threat, key, checkpoint, *rest):
        fitted.append((recipe.epochs, len(checkpoint.history) if checkpoint else 0))
        return fit(network, data, recipe, threat, key, checkpoint, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "fit", noting)
        run_sweep(ITERATIVE, tmp_path)
    assert fitted[0] == (2, 1)
    pd.testing.assert_frame_equal(trials(tmp_path), trials(iterative))


def test_rounds_leave_nothing_behind_that_is_not_kept(tmp_path: Path) -> None:
    run_sweep(ITERATIVE.replace("channel, weight, '2:4'", "channel") + "\nkeep: [dense]", tmp_path)
    assert set(trials(tmp_path)["status"]) == {"done"}
    left = {file.parts[-3] for file in tmp_path.glob("artifacts/*/*/*")}
    assert left == {"dense"}
