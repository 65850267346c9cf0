"""Fine-tuning through whole sweeps: policies, teachers, grids of levels, flags, columns."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from orchestrator.planning.attempt import Order, decode_order, encode_order
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.state import rows
from orchestrator.state.artifacts import Artifacts
from orchestrator.sweepfile.model import SweepFileError, parse_sweep
from prune_core.attacks import sanity
from prune_core.data import datasets
from prune_core.specs.keys import derive_seed
from prune_core.specs.stage import NETWORK
from prune_core.specs.stages import Finetuned, Rewound, Trial
from prune_core.training import loop as training
from prune_core.training.history import Checkpoint
from results.tables.load import load
from results.tables.storage import Storage

from conftest import CHECKED, CPU, blank, keeping, run_sweep, sweep_text

LEVELS = """{
  none: {epochs: 0},
  plain: {epochs: 1, lr: 0.02, averaging: ema, ema_decay: 0.8, optimizer: adamw},
  rate: {epochs: 2, policy: lr-rewind},
  weights: {epochs: 2, policy: weight-rewind},
  scratch: {epochs: 2, policy: scratch, schedule: step, selection: validation},
  taught: {objective: "distill:standard", epochs: 1},
  fast: {objective: "awp:fgsm", epochs: 1, attack_steps: 7}}"""
POLICIES = sweep_text(
    criteria="[l1]",
    seeds="1",
    finetuning=LEVELS.replace("\n", " "),
    dense="{objective: standard, epochs: 3, lr: 0.05}",
    keep="[dense, rewind, prune, finetune]",
    evaluation=CHECKED,
)


def plan_of(text: str) -> Plan:
    return make_plan(parse_sweep(text))


def trials(root: Path) -> pd.DataFrame:
    return load(str(root)).trials.set_index("finetuning")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("policies")
    run_sweep(POLICIES, root)
    return root


def finetuned(level: str) -> Finetuned:
    found = next(j for j in plan_of(POLICIES).trials.values() if j.labels["finetuning"] == level)
    assert isinstance(found.stage, Trial)
    assert isinstance(found.stage.network, Finetuned)
    return found.stage.network


def test_every_setting_is_a_column_and_null_where_it_has_no_say(done: Path) -> None:
    table = trials(done)
    assert (table["status"] == "done").all()
    assert table.loc["plain", ["optimizer", "averaging", "ema_decay", "ema_warmup"]].tolist() == [
        "adamw", "ema", 0.8, True,
    ]  # fmt: skip
    assert table.loc["scratch", ["schedule", "milestones", "lr_drop", "selection"]].tolist() == [
        "step", "0.5, 0.75", 0.1, "validation",
    ]  # fmt: skip
    assert table.loc["taught", ["distill_weight", "temperature"]].tolist() == [0.9, 4.0]
    fast = table.loc["fast"]
    assert fast[["attack_steps", "attack_step", "attack_mode"]].tolist() == [1, 1.25, "train"]
    assert (fast["awp_gamma"], fast["awp_warmup"]) == (0.01, 0.0)
    assert table.loc["plain", ["beta", "awp_gamma", "attack_steps", "swa_start"]].isna().all()
    assert table.loc["none", ["objective", "lr", "schedule", "precision"]].isna().all()
    assert table["precision"].dropna().unique().tolist() == ["float32"]
    assert table.loc["none", "reported_epoch"] == 0
    assert table.loc["rate", "reported_epoch"] == 2
    assert table.loc["scratch", "reported_epoch"] in (1, 2)


def test_rewinding_takes_the_dense_network_s_rate(done: Path) -> None:
    table = trials(done)
    for level in ("rate", "weights"):
        found = table.loc[level, ["lr", "schedule", "schedule_start", "epochs"]].tolist()
        assert found == [0.05, "cosine", 1, 2]
    epochs = load(str(done)).epochs
    dense = epochs[epochs["network"] == table["dense_network"].iloc[0]].set_index("epoch")["lr"]
    for level in ("rate", "weights"):
        own = epochs[epochs["network"] == table.loc[level, "finetuned_network"]]
        assert own.set_index("epoch")["lr"].tolist() == pytest.approx(dense.loc[[2, 3]].tolist())


def test_weights_rewind_to_those_of_the_dense_network_s_epoch(done: Path) -> None:
    """What was stored is the dense network after an epoch; training goes on from it, pruned."""
    stage = finetuned("weights")
    dense = stage.pruned.dense
    data = datasets.load(dense.dataset, CPU)
    kept: list[Checkpoint] = []
    seed = derive_seed(dense.key, "initialisation")
    network = blank(data, dense.architecture, seed)
    training.fit(network, data, dense.training, None, dense.key, on_epoch=keeping(kept))
    stored = Artifacts(Storage(str(done))).load("rewind", stage.rewound.key, NETWORK)
    assert stage.rewound.epoch == 1
    assert all(torch.equal(kept[0].tensors[f"network.{n}"], t) for n, t in stored[0].items())


def test_a_rewound_network_that_is_gone_is_trained_again_to_the_bit(
    done: Path, tmp_path: Path
) -> None:
    """As after a sweep that first had no rewinding: the dense network is there, its past is not."""
    without = POLICIES.replace("weights: {epochs: 2, policy: weight-rewind},", "")
    run_sweep(without, tmp_path)
    assert not Storage(str(tmp_path)).names("artifacts", "rewind")
    progress = run_sweep(POLICIES, tmp_path)
    assert progress.outcomes == [("rewind", "done"), ("trial", "done")]
    columns = [c for c in trials(done) if c.startswith(("finetuned_", "dense_"))]
    pd.testing.assert_frame_equal(
        trials(tmp_path).sort_index()[columns], trials(done).sort_index()[columns]
    )


def test_the_dense_job_leaves_the_past_behind_and_travels_with_it() -> None:
    plan = plan_of(POLICIES)
    dense = next(job for job in plan.jobs.values() if job.kind == "dense")
    assert [rewound.epoch for rewound in dense.rewinds] == [1]
    order = Order(dense, "root", "cpu")
    assert decode_order(encode_order(order)) == order
    rewind = next(job for job in plan.jobs.values() if job.kind == "rewind")
    assert rewind.parents == (dense.key,)
    assert isinstance(rewind.stage, Rewound)
    by = {job.labels["finetuning"]: job for job in plan.trials.values()}
    assert rewind.key in by["weights"].parents
    assert rewind.key not in by["rate"].parents


def test_policies_and_teachers_train_other_networks(done: Path) -> None:
    table = trials(done).drop(index="none")
    networks = {
        level: Artifacts(Storage(str(done))).load("finetune", key, NETWORK)[0]
        for level, key in table["finetuned_network"].items()
    }
    weights = [tensors["network.conv.weight"] for tensors in networks.values()]
    for index, one in enumerate(weights):
        assert not any(torch.equal(one, other) for other in weights[:index])


MADE = [name for name in sanity.CHECKS if name != "precision"]
"""Checks where every attack computes in float32."""


def test_checks_are_rows_and_failures_are_flags(done: Path, tmp_path: Path) -> None:
    tables = load(str(done))
    checks = tables.checks
    assert len(checks) == 7 * len(MADE)
    assert set(checks["network"]) == set(tables.trials["finetuned_network"])
    failed = checks[~checks["passed"]].groupby("network")["check"].apply(", ".join)
    flags = tables.trials.set_index("finetuned_network")["flags"].dropna()
    # So short a training on one step may collapse, which is no check of the network.
    of_checks = flags.str.removesuffix("collapsed").str.removesuffix(", ")
    assert of_checks[of_checks != ""].to_dict() == failed.to_dict()
    plain = sanity.check

    def failing(*given):
        found = plain(*given)
        return [_unpassed(each) for each in found]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sanity, "check", failing)
        run_sweep(sweep_text(criteria="[l1]", seeds="1", evaluation=CHECKED), tmp_path)
    assert set(load(str(tmp_path)).trials["flags"]) == {", ".join(MADE)}


def _unpassed(found: sanity.Check) -> sanity.Check:
    return sanity.Check(**{**vars(found), "passed": False})


def test_a_network_is_flagged_by_what_its_reported_epoch_and_checks_say() -> None:
    def epochs(*collapsed: bool, reported: int) -> list[rows.Row]:
        return [
            {"epoch": number, "reported": number == reported, "collapsed": each}
            for number, each in enumerate(collapsed, start=1)
        ]

    first, last = epochs(True, False, reported=2), epochs(False, True, True, reported=2)
    assert rows.reported([last, first], ["transfer"]) == {
        "reported_epoch": 4,
        "flags": "transfer, collapsed",
    }
    assert rows.reported([first], []) == {"reported_epoch": 2, "flags": None}
    assert rows.reported([], ["large-eps"]) == {"reported_epoch": 0, "flags": "large-eps"}


def test_the_worst_case_is_taken_image_by_image(tmp_path: Path) -> None:
    attacks = "[fgsm, pgd-5, corruptions-3]"
    run_sweep(
        sweep_text(criteria="[l1]", seeds="1", evaluation=f"{{attacks: {attacks}}}"), tmp_path
    )
    tables = load(str(tmp_path))
    stored = tables.evaluations.set_index(["network", "attack"])["outcomes"]
    for _, trial in tables.trials.iterrows():
        network = trial["finetuned_network"]
        bits = [int.from_bytes(stored[network, name], "big") for name in ("clean", "fgsm", "pgd-5")]
        worst = (bits[0] & bits[1] & bits[2]).bit_count()
        count = int(tables.evaluations["count"].iloc[0])
        assert trial["finetuned_worst"] == pytest.approx(worst / count)
        assert trial["finetuned_corruptions_3"] > trial["finetuned_worst"]


def test_a_sweep_in_the_euclidean_norm(tmp_path: Path) -> None:
    """Training, criterion, sensitivity, evaluation and checks, all within an L2 ball."""
    text = sweep_text(
        criteria="[adv-taylor]", allocations="[mrs]", seeds="1",
        finetuning="{trades: {objective: trades, epochs: 1, attack_steps: 2}}",
        threat="{norm: l2, eps: 0.8}",
        evaluation="{attacks: [fgsm, pgd-5, cw-20], sanity_images: 8}",
        sensitivity="{samples: 64, attack_steps: 2}",
        pruning="{calibration: {samples: 64, attack_steps: 2}}",
    )  # fmt: skip
    run_sweep(text, tmp_path)
    (row,) = load(str(tmp_path)).trials.to_dict("records")
    assert (row["status"], row["norm"], row["eps"]) == ("done", "l2", 0.8)
    assert row["finetuned_clean"] > row["finetuned_fgsm"] >= row["finetuned_pgd_5"]
    assert row["finetuned_pgd_5"] >= row["finetuned_worst"]


GRID = """{
  none: {epochs: 0},
  all: {objective: [standard, "awp:pgd"], policy: [finetune, lr-rewind, iterative],
        epochs: 2, lr: [0.01, 0.1], rounds: 2}}"""


def test_a_level_with_several_values_is_their_cross_product() -> None:
    sweep = parse_sweep(sweep_text(finetuning=GRID.replace("\n", " ")))
    assert list(sweep.finetuning) == [
        "none",
        *(
            f"all-{objective}-{policy}"
            for objective in ("standard", "awp.pgd")
            for policy in (
                "finetune-0.01", "finetune-0.1", "lr-rewind", "iterative-0.01", "iterative-0.1",
            )
        ),
    ]  # fmt: skip
    assert sweep.finetuning["all-awp.pgd-iterative-0.1"].rounds == 2
    assert sweep.finetuning["all-awp.pgd-lr-rewind"].objective == "awp:pgd"
    milestones = parse_sweep(
        sweep_text(finetuning="{a: {epochs: 2, schedule: step, milestones: [0.5, 0.75]}}")
    )
    assert milestones.finetuning["a"].milestones == (0.5, 0.75)


@pytest.mark.parametrize(
    ("level", "message"),
    [
        ("{epochs: 2, policy: lr-rewind, lr: 0.1}", "takes the dense network's learning rate"),
        ("{epochs: 9, policy: weight-rewind}", "goes back 9 epochs, and the dense network's"),
        ("{epochs: 9, policy: iterative-rewind, rounds: 3}", "goes back 3 epochs, and the dense"),
        ("{epochs: 3, policy: iterative-rewind, rounds: 2}", "must be a multiple of the rounds"),
        ("{epochs: 3, policy: iterative-rewind, rounds: 3, lr: 0.1}", "leave out lr"),
        ("{epochs: 3, policy: finetune, rounds: 3}", "every other policy has 1 round"),
        ("{epochs: 2, objective: 'awp:pdg'}", "unknown objective 'pdg'; did you mean 'pgd'"),
        ("{epochs: 2, schedule: cosin}", "did you mean 'cosine'"),
        ("{epochs: 2, averaging: swag}", "should be 'none', 'ema' or 'swa'"),
        ("{epochs: 2, lr: [0.1, 0.10]}, a-0.1: {epochs: 3}", "two levels are called 'a-0.1'"),
        ("{epochs: 2, beta: -1}", "greater than or equal to 0"),
    ],
)
def test_wrong_levels_are_refused(level: str, message: str) -> None:
    with pytest.raises(SweepFileError, match=message):
        plan_of(sweep_text(finetuning=f"{{a: {level}}}"))


def test_a_dense_network_has_no_teacher() -> None:
    with pytest.raises(SweepFileError, match="learns from the dense network; only a fine-tuning"):
        plan_of(sweep_text(dense="{objective: 'distill:pgd', epochs: 2}"))


def test_settings_of_the_run_are_in_the_keys_of_trainings() -> None:
    plain, half = (
        plan_of(sweep_text(compute=f"{{precision: {precision}}}"))
        for precision in ("float32", "bfloat16")
    )
    assert not set(plain.jobs) & set(half.jobs)
    assert list(plan_of(sweep_text()).jobs) == list(plain.jobs)
