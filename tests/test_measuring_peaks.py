"""Peaks of scores and sensitivities that are predicted, beside what the CPU's allocator counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from measuring_peaks import (
    SHORT,
    both_scores,
    both_sensitivities,
    scores_stage,
    sensitivity_stage,
)
from test_peaks import network
from torch import nn

from orchestrator.planning.plan import Job, Plan, make_plan
from orchestrator.sweepfile.model import parse_sweep
from orchestrator.worker.peaks import jobs
from orchestrator.worker.peaks.hollow import SMALL, hollow
from orchestrator.worker.peaks.jobs import job_peak
from orchestrator.worker.peaks.measurings import scores_peak, sensitivity_peak
from orchestrator.worker.peaks.trainings import Images
from prune_core.data.outline import counted_extra
from prune_core.errors import DatasetError
from prune_core.models.architectures import build
from prune_core.pruning.prunable import masks
from prune_core.specs.images import Extra
from prune_core.specs.registry import CRITERIA
from prune_core.specs.stages import Scores, Sensitivity

from conftest import sweep_text
from rows import names

GB = 10**9
NEAR = 0.15
SHAPE = (3, 8, 8)
BATCH = 48
ONE = Images(SHAPE, 10, BATCH, 1, 1)
TWO = ONE._replace(train=2 * BATCH)
"""Batches."""


@pytest.mark.parametrize("criterion", names("criteria"))
def test_the_peak_of_every_criterion_is_foreseen(
    criterion: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for (module, name), number in SHORT.items():
        monkeypatch.setattr(module, name, number)
    unit = "channel" if "channels" in CRITERIA[criterion].traits else "weight"
    stage = scores_stage(criterion, unit, BATCH, ONE.train)
    foreseen, seen, _ = both_scores(network().eval(), ONE, stage)
    assert foreseen == pytest.approx(seen, rel=NEAR)


@pytest.mark.parametrize("estimator", names("sensitivities"))
def test_the_peak_of_every_estimator_is_foreseen(estimator: str) -> None:
    stage = sensitivity_stage(estimator, "channel", BATCH, TWO.train)
    foreseen, seen, _ = both_sensitivities(network().eval(), TWO, stage)
    assert foreseen == pytest.approx(seen, rel=NEAR)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_scores.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))


OWN = """
def asking(layer):
    known = layer.gradient.abs().sum(1).tolist()
    return layer.weight[:, 0] * max(known) if max(known) > 0 else None

def copying(layer):
    return layer.weight.new_tensor(layer.gradient.numpy()).sum(1)
"""


def test_a_criterion_of_one_s_own_may_ask_for_numbers(own: None) -> None:
    del own
    stage = scores_stage("own_scores:asking", "channel", BATCH, ONE.train)
    foreseen, seen, _ = both_scores(network().eval(), ONE, stage)
    assert foreseen == pytest.approx(seen, rel=NEAR)


def test_what_a_criterion_cannot_be_foreseen_by_is_raised(own: None) -> None:
    del own
    stage = scores_stage("own_scores:copying", "channel", BATCH, ONE.train)
    wide = nn.Sequential(nn.Conv2d(3, 300, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(Exception, match=r"numpy|Tensor subclass"):
        scores_peak(nn.Sequential(wide, nn.Linear(300, 10)), ONE, stage)


def test_what_is_before_a_layer_is_in_the_peak_of_a_climb() -> None:
    shape = (3, 16, 16)
    climbed = build("resnet8", shape, 10, *[(0.5,) * 3] * 2, seed=0).eval()
    stage = sensitivity_stage("perturbation-few-step", "channel", 32, 64)
    foreseen, seen, _ = both_sensitivities(climbed, TWO._replace(shape=shape), stage)
    assert foreseen == pytest.approx(seen, rel=NEAR)


def test_images_that_are_not_passed_are_held() -> None:
    many = ONE._replace(train=2000)
    few, all_of_them = (
        scores_peak(network(), many, scores_stage("snip", "channel", BATCH, count))
        for count in (1000, 2000)
    )
    assert all_of_them - few == 1000 * (4 * 3 * 8 * 8 + 8)


def test_a_larger_batch_takes_more_and_nothing_is_changed() -> None:
    tried = network(masked=True)
    before = {name: tensor.clone() for name, tensor in tried.state_dict().items()}
    many = ONE._replace(train=256)
    small, large = (
        sensitivity_peak(tried, many, sensitivity_stage("perturbation", "channel", batch, 256))
        for batch in (64, 128)
    )
    assert large > 1.2 * small
    scores_peak(tried, many, scores_stage("random", "weight", 128, 256))
    assert all(torch.equal(before[name], tensor) for name, tensor in tried.state_dict().items())
    assert not tried._forward_pre_hooks


def test_what_is_made_of_images_has_no_contents_and_can_be_asked() -> None:
    layer = nn.Linear(1000, 1000)
    with hollow() as live:
        read = torch.empty(10**7, 1000)  # more than there is
        loss = layer(read).square().mean()
        assert 0 < float(loss.detach()) < 1
        (gradient,) = torch.autograd.grad(loss, [layer.weight])
        assert gradient.shape == (1000, 1000)
        assert bool(gradient.isfinite().all())
    assert live.peak > 2 * 4 * 10**10


def test_what_is_made_of_contents_is_computed() -> None:
    kept = torch.arange(2 * SMALL).double()
    with hollow():
        assert float((kept + torch.ones(2 * SMALL)).sum()) == SMALL * (2 * SMALL + 1)
        kept += torch.empty(2 * SMALL).double()
    assert kept.tolist() == [*range(2 * SMALL)]


def planned(**changes: str) -> Plan:
    return make_plan(parse_sweep(sweep_text(seeds="1", **changes)))


def job_of(plan: Plan, kind: str) -> Job:
    return next(job for job in plan.jobs.values() if job.kind == kind)


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Other parts of jobs that take next to nothing; whether what is measured has masks."""
    masked = list[bool]()

    def measured(tried: nn.Module, images: Images, stage: Scores | Sensitivity) -> int:
        masked.append(bool(masks.masked(tried)))
        assert images.train == 360
        return 2 * GB if isinstance(stage, Sensitivity) else GB

    monkeypatch.setattr(jobs, "scores_peak", measured)
    monkeypatch.setattr(jobs, "sensitivity_peak", measured)
    monkeypatch.setattr(jobs, "training_peak", lambda *_: 0)
    monkeypatch.setattr(jobs, "_evaluated", lambda *_: 0)
    return masked


def test_jobs_that_measure_are_foreseen(patched: list[bool]) -> None:
    plan = planned(criteria="[snip]", allocations="[mrs]", granularities="[weight]")
    assert job_peak(job_of(plan, "scores")) == 1.9 * GB
    assert job_peak(job_of(plan, "sensitivity")) == 2 * 1.9 * GB
    assert patched == [False, False]  # of the dense network


def test_a_trial_in_rounds_takes_what_its_later_rounds_measure(patched: list[bool]) -> None:
    rounds = "{i: {objective: standard, policy: iterative, rounds: 3, epochs: 3, lr: 0.02}}"
    settings = {"finetuning": rounds, "granularities": "[weight]", "criteria": "[snip]"}
    assert job_peak(job_of(planned(**settings), "trial")) == 1.9 * GB
    assert job_peak(job_of(planned(**settings, allocations="[mrs]"), "trial")) == 2 * 1.9 * GB
    assert patched == [True] * 3  # alike in both rounds
    del settings["finetuning"]
    assert job_peak(job_of(planned(**settings), "trial")) == 0  # which a job of its own did


def test_further_images_are_on_the_device_too(tmp_path: Path) -> None:
    file = tmp_path / "more.npz"
    np.savez(file, image=np.zeros((1, 8, 8, 1), np.uint8), label=np.zeros(100_000, np.int64))
    more = f"{{name: digits, per_class: 40, extra: {{file: '{file}', share: 0.5}}}}"
    plain = "{name: digits, per_class: 40}"
    dense = [job_of(planned(dataset=data), "dense") for data in (plain, more)]
    few, many = map(job_peak, dense)
    assert many - few == pytest.approx(1.9 * 100_000 * (64 + 8), rel=1e-2)
    with pytest.raises(DatasetError, match="cannot be counted"):
        counted_extra(Extra(file=str(tmp_path / "gone.npz"), share=0.5, content="0" * 20))
