"""The sweeps of the adversarial pruning benchmark ask for what its board takes."""

from __future__ import annotations

import pandas as pd

from orchestrator.planning.plan import make_plan
from orchestrator.state.rows import levels_row
from orchestrator.sweepfile.model import read_sweep
from orchestrator.sweepfile.shipped import shipped_sweeps
from prune_core.specs.stages import Trial
from results.report.boards import HO_FMN, pruning_submission


def test_every_method_of_theirs_would_be_a_submission() -> None:
    plan = make_plan(read_sweep(shipped_sweeps()["benchmark"]))
    rows = [
        levels_row(job.stage, job.labels or {})
        for job in plan.trials.values()
        if isinstance(job.stage, Trial)
    ]
    measured = {"status": "done", "finetuned_clean": 0.8, "finetuned_autoattack": 0.4,
                "flags": None, "shortfall": None, "params_removed": 0.9}  # fmt: skip
    trials = pd.DataFrame(rows).assign(**measured)
    nets = trials["finetuned_network"]
    evaluations = pd.DataFrame(
        {"network": nets, "attack": "autoattack", "count": 10_000, "distances": None}
    )
    checks = pd.DataFrame({"network": nets})
    for _, method in trials.groupby(["dense", "criterion", "allocation", "finetuning", "seed"]):
        models = pruning_submission(method, evaluations, checks, "AP_Me2026Title")
        assert models["model_key"].is_unique
        assert len(models) in (12, 24)  # a structure's whole suite, or both
    assert trials["seed"].nunique() == 3
    assert set(trials["architecture"]) == {"apb-resnet18", "apb-vgg16"}
    assert set(trials["dataset"]) == {"cifar10", "svhn"}
    rates = {job.stage.dense.dataset.name: job.stage.dense.training.lr
             for job in plan.trials.values() if isinstance(job.stage, Trial)}  # fmt: skip
    assert rates == {"cifar10": 0.1, "svhn": 0.01}
    by = trials.groupby("granularity")["sparsity"].agg(set).to_dict()
    assert by == {"weight": {0.9, 0.95, 0.99}, "channel": {0.5, 0.75, 0.9}}
    assert HO_FMN in plan.sweep.evaluation.attacks
