"""Iterative pruning through whole sweeps: rounds, their budget, going on within one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import parse_sweep
from orchestrator.worker.materialize import Materializer
from prune_core.training import loop as training
from results.tables.storage import Storage
from results.tables.store import Tables

from conftest import CPU, EVERY_EPOCH, run_sweep, sweep_text
from test_criteria import INNER
from test_launch import Stopped, trials

ITERATIVE = sweep_text(
    criteria="[taylor]",
    granularities="[channel, weight, '2:4']",
    finetuning="{i: {objective: standard, policy: iterative, rounds: 2, epochs: 3, lr: 0.02}}",
    seeds="1",
    resources=EVERY_EPOCH,
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

    def noting(network, data, recipe, threat, key, checkpoint, *rest, **others):
        fitted.append((recipe.epochs, len(checkpoint.history) if checkpoint else 0))
        return fit(network, data, recipe, threat, key, checkpoint, *rest, **others)

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


REWIND = sweep_text(
    criteria="[l1]",
    granularities="[channel, weight]",
    finetuning="{i: {objective: standard, policy: iterative-rewind, rounds: 2, epochs: 2, "
    "batch_size: 32}}",
    seeds="1",
)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Tensor]]]:
    """A storage root, and the networks with which the trainings began, by their keys."""
    root, states = tmp_path_factory.mktemp("rewind"), {}
    fit = training.fit

    def noting(network, data, recipe, threat, key, *rest, **more):
        states[key] = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        return fit(network, data, recipe, threat, key, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "fit", noting)
        run_sweep(REWIND, root)
    return root, states


@pytest.mark.parametrize("granularity", ["channel", "weight"])
def test_every_round_begins_with_the_rewound_weights_of_what_is_left(
    granularity: str, begun: tuple[Path, dict[str, dict[str, Tensor]]]
) -> None:
    root, states = begun
    materializer = Materializer(Tables(Storage(str(root))), CPU, ("prune",))
    job = next(job for job in make_plan(parse_sweep(REWIND)).trials.values()
               if job.labels["granularity"] == granularity)  # fmt: skip
    rounds = job.stage.trainings[::-1]
    assert {stage.rewound.epoch for stage in rounds} == {1}
    past = materializer.network(rounds[0].rewound).state_dict()
    assert not torch.equal(past[f"{INNER}.weight"], materializer.network(job.stage.dense)
                           .get_parameter(f"{INNER}.weight"))  # fmt: skip
    before: set[int] = set(range(32 * 16 * 9))
    for stage in rounds:
        begin = states[stage.key]
        if granularity == "weight":
            mask = begin[f"{INNER}.mask"]
            assert torch.equal(begin[f"{INNER}.weight"], past[f"{INNER}.weight"] * mask)
            kept = set(mask.flatten().nonzero().flatten().tolist())
        else:
            structure = materializer.pruning_facts(stage.pruned)["structure"]
            left = past[f"{INNER}.weight"][structure[INNER]][:, structure["network.conv"]]
            assert torch.equal(begin[f"{INNER}.weight"], left)
            kept = set(structure[INNER])
        assert kept < before  # what an earlier round removed stays removed
        before = kept


def test_every_round_has_the_dense_network_s_last_rates(
    begun: tuple[Path, dict[str, dict[str, Tensor]]],
) -> None:
    tables = Tables(Storage(str(begun[0])))
    frame = trials(begun[0])
    assert set(frame["status"]) == {"done"}
    assert (frame["params_removed"] - 0.5).abs().max() <= 0.01
    epochs = tables.read("epochs")
    (last,) = epochs[(epochs["stage"] == "dense") & (epochs["epoch"] == 2)]["lr"]
    assert epochs[epochs["stage"] == "finetuned"]["lr"].tolist() == pytest.approx([last] * 4)
