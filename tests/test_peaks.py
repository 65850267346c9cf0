"""Peaks of memory that are predicted: within 15 % of what the CPU's allocator counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from peaks import both, counted, counted_attack, held
from torch import nn

from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import parse_sweep
from orchestrator.worker.peaks import jobs
from orchestrator.worker.peaks.attacks import attack_peak, passes
from orchestrator.worker.peaks.jobs import job_peak
from orchestrator.worker.peaks.live import Live, dry, emptied
from orchestrator.worker.peaks.trainings import Images, training_peak
from prune_core.pruning.prunable import masks
from prune_core.specs.compute import Compute

from conftest import THREAT, sweep_text
from test_training import recipe

NEAR = 0.15
SHAPE = (3, 8, 8)


def network(*, masked: bool = False) -> nn.Module:
    layers: list[nn.Module] = []
    for before in (3, 16, 16):
        layers += [nn.Conv2d(before, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()]
    built = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    for layer in masks.maskable(built).values() if masked else ():
        masks.attach(layer)
    return built


@pytest.mark.parametrize(
    ("objective", "settings"),
    [
        ("pgd", {"averaging": "ema", "optimizer": "adamw"}),
        ("trades", {"selection": "validation"}),
    ],
)
def test_a_training_s_peak_is_foreseen(objective: str, settings: dict[str, object]) -> None:
    training = recipe(epochs=2, objective=objective, attack_steps=2, batch_size=16)
    training = training.model_copy(update=settings).resolved()
    trained = network(masked=objective == "pgd")
    foreseen, seen, _ = both(trained, SHAPE, 10, training, Compute(), None)
    assert foreseen == pytest.approx(seen, rel=NEAR)


def test_what_a_training_holds_is_in_its_peak() -> None:
    def peak(count: int = 64, **settings: object) -> int:
        training = recipe(**{"objective": "standard", "batch_size": 8, **settings})
        return training_peak(trained, Images(SHAPE, 10, count, 8, 8), training, THREAT)

    trained = network()
    weights = sum(parameter.numel() for parameter in trained.parameters()) * 4
    plain = peak()
    assert peak(averaging="ema") - plain == pytest.approx(weights, rel=0.05)
    assert peak(optimizer="adamw") - plain == pytest.approx(weights, rel=0.05)  # a second moment
    assert peak(count=100_064) - plain == 100_000 * (192 + 8)  # images, and labels
    assert peak(batch_size=32) > 2 * plain


def test_nothing_is_done_and_no_network_is_changed() -> None:
    trained = network()
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    with dry() as live:
        torch.empty(10**13)  # more than there is
        made = emptied(trained)
        assert made(torch.rand(2, *SHAPE)).shape == (2, 10)
        with pytest.raises(Exception, match="_local_scalar_dense"):
            float(torch.rand(2).sum())
    assert live.peak >= 4 * 10**13
    assert all(torch.equal(before[name], tensor) for name, tensor in trained.state_dict().items())


def test_what_a_convolution_rearranges_is_in_its_peak() -> None:
    def work(layer: nn.Module) -> None:
        layer(torch.rand(8, 16, 16, 16, requires_grad=True)).sum().backward()

    convolution = nn.Conv2d(16, 16, 3, padding=1)
    with dry() as live:
        layer = emptied(convolution)
        live.follow(layer.parameters())
        work(layer)
    seen = counted(lambda: work(convolution), held(convolution))
    assert live.peak == pytest.approx(seen, rel=NEAR)


def test_bytes_alive_are_counted_once_and_let_go() -> None:
    with Live() as live:
        first = torch.ones(1000)
        view = first.view(10, 100)
        assert live.bytes == 4000
        del first
        assert live.bytes == 4000
        del view
        second = torch.ones(500)
    assert (live.bytes, live.peak) == (2000, 4000)
    del second


def test_the_counter_counts_what_the_allocator_gives_out() -> None:
    assert counted(lambda: torch.ones(1000), before=10) >= 4010


def test_an_attack_s_peak_is_foreseen() -> None:
    attacked, count = network().eval(), 64
    held_by_one = passes(attacked, SHAPE)
    each = attack_peak("apgd-ce", THREAT, SHAPE, 10, held_by_one, enough=5)
    foreseen = held_by_one.weights + count * each
    seen = counted_attack("apgd-ce", attacked, SHAPE, THREAT, count, enough=5)
    assert foreseen == pytest.approx(seen, rel=NEAR)


def test_attacks_do_not_hold_the_images_of_all_their_steps() -> None:
    """Torchattacks' APGD does where gradients are on: each step's, until the last restart ends."""
    held_by_one = passes(network(), SHAPE)
    few, many = (
        attack_peak("autoattack", THREAT, SHAPE, 10, held_by_one, enough) for enough in (5, 105)
    )
    assert many < 1.3 * few


def test_a_job_s_peak_is_of_its_training_or_its_attacks_and_has_its_images() -> None:
    plan = make_plan(parse_sweep(sweep_text()))
    images = 400 * (64 + 8)  # digits of TINY: 40 a class to train on, some held out of them
    untrained = next(job for job in plan.trials.values() if job.batch_size is None)
    attacked = job_peak(untrained)
    assert attacked > images
    assert job_peak(replace(untrained, attacks=("apgd-ce",))) > attacked + images


def test_a_gpu_reserves_more_than_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """By as much as it was measured: kernels need room, and a graph has memory of its own."""
    monkeypatch.setattr(jobs, "training_peak", lambda *_: 10**9)
    ways = {"exact": "{}", "graphs": "{fused: true, graphs: auto}", "tried": "{benchmark: true}"}
    found = {}
    for way, compute in ways.items():
        plan = make_plan(parse_sweep(sweep_text(compute=compute)))
        dense = next(job for job in plan.jobs.values() if job.kind == "dense")
        found[way] = job_peak(dense)
    assert found == {"exact": 1.9e9, "graphs": 2.6e9, "tried": 4.6e9}
