"""Compute: profiles as named settings, in keys, rows and verdicts; their optimizer and kernels."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from test_misleading import METRIC, described

from orchestrator.planning.plan import make_plan
from orchestrator.state.rows import levels_row
from orchestrator.sweepfile.model import parse_sweep
from orchestrator.sweepfile.resolved import resolved_text
from orchestrator.worker.device import slow
from prune_core.data import datasets
from prune_core.specs.compute import PROFILES, Compute
from prune_core.training import loop as training
from prune_core.training.history import Checkpoint
from prune_core.training.loop import fit
from results.statistics.design.design import make_design
from results.statistics.verdict.conditions import conditions

from conftest import THREAT, blank, dense_stage, keeping, sweep_text
from test_analysis import sweep
from test_training import few, recipe, same


def key_of(**compute: object) -> str:
    return dense_stage().model_copy(update={"compute": Compute(**compute)}).key


def test_a_profile_is_its_settings() -> None:
    fast = Compute(profile="fast")
    assert {name: getattr(fast, name) for name in PROFILES["fast"]} == PROFILES["fast"]
    assert not fast.compile
    settings = [{"profile": "fast"}, PROFILES["fast"], {"profile": "fast", "compile": True}, {}]
    assert [Compute(**each).named for each in settings] == ["fast", "fast", "fast", "exact"]
    assert Compute(precision="bfloat16").named == "own"
    assert key_of(profile="fast") == key_of(**PROFILES["fast"]) != key_of()
    assert key_of(profile="exact") == key_of(**PROFILES["exact"]) == key_of()
    fused = {"graphs": {"fused": True}}  # which graphs need
    keys = {
        key_of(**{name: value, **fused.get(name, {})}) for name, value in PROFILES["fast"].items()
    }
    assert len(keys) == len(PROFILES["fast"])


def test_a_setting_that_contradicts_a_profile_is_refused() -> None:
    with pytest.raises(ValidationError, match="profile fast has fused true, and false is given"):
        Compute(profile="fast", fused=False)
    with pytest.raises(ValidationError, match="'exact' or 'fast'"):
        Compute(profile="quick")


def test_a_sweep_under_a_profile_says_so_and_reads_back() -> None:
    text = sweep_text(compute="{profile: fast}")
    plan = make_plan(parse_sweep(text))
    again = make_plan(parse_sweep(resolved_text(plan.sweep)))
    assert list(plan.jobs) == list(again.jobs)
    rows = [levels_row(job.stage, job.labels) for job in plan.trials.values()]
    assert {row["profile"] for row in rows} == {"fast"}
    plain = make_plan(parse_sweep(sweep_text()))
    assert not set(plan.jobs) & set(plain.jobs)
    assert {levels_row(j.stage, j.labels)["profile"] for j in plain.trials.values()} == {"exact"}


def test_a_verdict_names_the_profile() -> None:
    trials = described(sweep())
    design = make_design(trials, METRIC)
    said = {
        name: conditions(trials.assign(profile=profile), design, None, drawn=False)
        for name, profile in {
            "exact": "exact",
            "fast": "fast",
            "mixed": trials["seed"].map(lambda seed: "fast" if seed else "exact"),
            "unknown": None,
        }.items()
    }
    assert "profile" not in said["exact"] + said["unknown"]
    assert "trained under profile fast" in said["fast"]
    assert "profiles exact and fast, whose numbers differ by themselves" in said["mixed"]


def test_a_verdict_says_of_how_many_classes_and_images_it_is() -> None:
    """A sweep on 20 classes of Tiny-ImageNet said that it was on tiny-imagenet."""
    trials = described(sweep()).assign(dataset="tiny-imagenet")
    design = make_design(trials, METRIC)
    some = trials.assign(classes=20, train_images=9000)
    assert "This is on tiny-imagenet (20 classes, 9000 training images), under" in conditions(
        some, design, None, drawn=False
    )
    some.loc[some.index[:3], ["classes", "train_images"]] = None  # failed, or of an older version
    assert "(20 classes, 9000 training images)" in conditions(some, design, None, drawn=False)
    assert "This is on tiny-imagenet, under" in conditions(trials, design, None, drawn=False)
    both = pd.concat([some, some.assign(dataset="cifar10", classes=10)])
    assert "on cifar10 (10 classes, 9000 training images) and tiny-imagenet (20" in conditions(
        both, design, None, drawn=False
    )


def test_what_is_slow_on_a_device_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    fast, exact = Compute(profile="fast"), Compute()
    assert "8 times slower" in str(slow("cpu", fast, ["pgd-20"]))
    assert slow("cpu", exact, ["pgd-20"]) is None
    assert "8 times slower" in str(slow("cpu", exact, ["fgsm", "bfloat16:pgd-20"]))
    assert "in float32 here" in str(slow("cpu", exact, ["tf32:autoattack"]))
    both = str(slow("cpu", fast, ["tf32:autoattack"]))
    assert "in float32 here; this processor has neither" in both
    assert slow("cuda", fast, ["tf32:autoattack"]) is None
    assert "nine times as long" in str(slow("cuda", exact, ["pgd-20"]))
    assert slow("cuda", fast, ["pgd-20"]) is None
    assert slow("cuda", Compute(benchmark=True), ["pgd-20"]) is None
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert slow("cpu", fast, ["pgd-20"]) is None


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_fused_optimizer_is_the_same_rule_and_resumes(
    optimizer: str, digits: datasets.Dataset
) -> None:
    settings, data = recipe(2, optimizer=optimizer, lr=0.003), few(digits, 128)
    plain, whole, resumed = blank(digits), blank(digits), blank(digits, seed=7)
    fit(plain, data, settings, None, "k")
    kept: list[Checkpoint] = []
    fit(whole, data, settings, None, "k", on_epoch=keeping(kept), compute=Compute(fused=True))
    for one, other in zip(plain.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    fit(resumed, data, settings, None, "k", kept[0], compute=Compute(fused=True))
    assert same(whole, resumed)


def test_kernels_are_as_before_after_a_training(
    digits: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    cudnn = torch.backends.cudnn
    seen: list[tuple[bool, bool]] = []

    class Seeing(training._Run):
        def epoch(self, epoch: int) -> None:
            seen.append((cudnn.benchmark, cudnn.deterministic))
            super().epoch(epoch)

    monkeypatch.setattr(training, "_Run", Seeing)
    monkeypatch.setattr(cudnn, "deterministic", True)
    for compute in (Compute(), Compute(benchmark=True)):
        fit(blank(digits), few(digits, 64), recipe(1), THREAT, "k", compute=compute)
        assert (cudnn.benchmark, cudnn.deterministic) == (False, True)
    assert seen == [(False, True), (True, False)]
