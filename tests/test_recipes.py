"""Recipes: what a training's settings are once what it does not say is filled in."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.sweepfile.model import read_sweep
from prune_core.specs.recipes import Training
from prune_core.training.schedules import rate

SWEEPS = Path(__file__).parents[1] / "sweeps"


@pytest.mark.parametrize("steps", [1, 4, 10, 25])
def test_an_attack_walks_two_and_a_half_times_its_radius(steps: int) -> None:
    """In all its steps together (Madry et al., 2018), unless the step is given."""
    recipe = Training(objective="pgd", epochs=1, lr=0.1, attack_steps=steps)
    assert recipe.resolved().attack_step == pytest.approx(2.5 / steps)
    assert recipe.model_copy(update={"attack_step": 0.3}).resolved().attack_step == 0.3


AUTHORS: dict[str, tuple[int, dict[int, float]]] = {
    "trades": (76, {1: 0.1, 74: 0.1, 75: 0.01, 76: 0.01}),
    "mart": (120, {74: 1e-2, 75: 1e-3, 89: 1e-3, 90: 1e-4, 99: 1e-4, 100: 1e-5, 120: 1e-5}),
    "awp": (200, {100: 0.1, 101: 0.01, 150: 0.01, 151: 0.001}),
    "awp-trades": (200, {99: 0.1, 100: 0.01, 149: 0.01, 150: 0.001}),
    "bag-of-tricks": (110, {100: 0.1, 101: 0.01, 105: 0.01, 106: 0.001}),
    "fast": (15, {1: 0.2 / 15, 8: 0.2, 15: 0.2 / 15}),
    "distilled": (200, {100: 0.1, 101: 0.01, 200: 0.01}),
}
"""By level, in authors' code: epochs, and the rate in the middle of some, counted from 1."""


@pytest.mark.parametrize("level", AUTHORS)
def test_schedules_of_papers_have_their_authors_rates(level: str) -> None:
    sweep = read_sweep(SWEEPS / "schedules.yaml")
    epochs, rates = AUTHORS[level]
    recipe = sweep.finetuning[level].training(sweep.dense["dense"])
    assert recipe.epochs == epochs
    assert [rate(recipe, at - 0.5) for at in rates] == pytest.approx(list(rates.values()))


@pytest.mark.parametrize("name", ["cifar10", "schedules"])
def test_trainings_on_natural_images_keep_their_best_epoch(name: str) -> None:
    """The last is worse (Rice et al., 2020), and then whatever stops in time seems to gain."""
    sweep = read_sweep(SWEEPS / f"{name}.yaml")
    [dense], levels = sweep.dense.values(), [x for x in sweep.finetuning.values() if x.epochs]
    assert {level.selection for level in [dense, *levels]} == {"validation"}
    longest = max(x.epochs for x in levels if x.policy != "scratch" and x.rounds == 1)
    scratch = max(x.epochs for x in levels if x.policy == "scratch")
    assert scratch == dense.epochs + longest  # equal compute
