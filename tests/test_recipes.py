"""Recipes: what a training's settings are once what it does not say is filled in."""

from __future__ import annotations

import pytest

from prune_core.specs.recipes import Training


@pytest.mark.parametrize("steps", [1, 4, 10, 25])
def test_an_attack_walks_two_and_a_half_times_its_radius(steps: int) -> None:
    """In all its steps together (Madry et al., 2018), unless the step is given."""
    recipe = Training(objective="pgd", epochs=1, lr=0.1, attack_steps=steps)
    assert recipe.resolved().attack_step == pytest.approx(2.5 / steps)
    assert recipe.model_copy(update={"attack_step": 0.3}).resolved().attack_step == 0.3
