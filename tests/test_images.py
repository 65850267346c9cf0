"""The test images as a second random factor: against explicit sums, and by what they add."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

import results
from results.statistics.design.design import Design
from results.statistics.levels.by_image import Outcomes
from results.statistics.shares.comparison import compare_main_effects
from results.statistics.shares.images import Pictures, image_scatter

from simulated import simulated

PAIR = ("finetuning", "criterion")


def pictured(right: np.ndarray) -> tuple[Design, Pictures]:
    """A design of [criteria, fine-tunings, S, images], and its outcomes."""
    *sizes, seeds, images = right.shape
    packed = np.packbits(right.reshape(-1, images), axis=1)
    rows = np.arange(len(packed)).reshape(right.shape[:-1])
    outcomes = Outcomes(pd.Index([str(row) for row in range(len(packed))]), packed, images)
    levels = tuple(tuple(range(size)) for size in sizes)
    design = Design(PAIR[::-1], levels, tuple(range(seeds)), right.mean(axis=-1), ())
    return design, Pictures((outcomes,), rows, np.where(rows < 0, -1, 0))


def test_the_variance_of_images_is_that_of_products_of_different_seeds() -> None:
    right = np.random.default_rng(0).random((3, 2, 3, 20)) < 0.6
    scatter = image_scatter(*pictured(right), PAIR)
    effects = {  # [levels, S, images]
        "criterion": right.mean(axis=1) - right.mean(axis=(0, 1)),
        "finetuning": right.mean(axis=0) - right.mean(axis=(0, 1)),
        "all": right.reshape(6, 3, 20) - right.mean(axis=(0, 1)),
    }
    found = {}
    for name, effect in effects.items():
        apart = effect - effect.mean(axis=-1, keepdims=True)
        products = [(apart[:, s] * apart[:, t]).sum() / len(apart)
                    for s, t in itertools.permutations(range(3), 2)]  # fmt: skip
        found[name] = np.mean(products) / (20 * 19)
    wanted = [max(0, found[name]) for name in PAIR]
    np.testing.assert_allclose(scatter.noise[:2], wanted, atol=1e-12)
    whole = max(0, max(0, found["all"]) - sum(wanted))
    assert scatter.noise[2] == pytest.approx(whole, abs=1e-12)
    along = []
    for s in range(3):
        of_pair = []
        for name in PAIR:
            mean = effects[name].mean(axis=(1, 2))
            of_pair.append(2 * mean @ (effects[name][:, s]) / len(mean))
        mean = effects["all"].mean(axis=(1, 2))
        of_all = 2 * mean @ effects["all"][:, s] / len(mean)
        along.append([*of_pair, of_all - sum(of_pair)])
    centred = np.array(along) - np.array(along).mean(axis=-1, keepdims=True)
    products = [centred[s] @ centred[t].T for s, t in itertools.permutations(range(3), 2)]
    np.testing.assert_allclose(scatter.along, np.mean(products, axis=0) / (20 * 19), atol=1e-12)


def test_few_images_that_prefer_a_level_carry_no_verdict_on_others() -> None:
    """Levels are alike, but not on these images; all seeds agree, since all see the same ones."""
    rng = np.random.default_rng(1)
    false, honest = 0, 0
    for _ in range(40):
        likes = rng.normal(0, 0.2, (4, 1, 1, 50)) + rng.normal(0, 0.05, (1, 3, 1, 50))
        right = rng.random((4, 3, 6, 50)) < 0.5 + likes
        design, pictures = pictured(right)
        try:
            false += compare_main_effects(design).winner != "undecided"
            honest += compare_main_effects(design, pictures=pictures).winner != "undecided"
        except results.AnalysisError:  # the images account for all that there is
            continue
    assert false > 8
    assert honest <= 4


def test_images_are_taken_from_the_evaluations() -> None:
    loaded = simulated()
    found = results.verdict(loaded.trials, "finetuned_pgd_20", evaluations=loaded.evaluations)
    these = results.verdict(loaded.trials, "finetuned_pgd_20")
    assert found.images == 200
    assert found.difference != these.difference
    assert "judged on 200 test images, with the error of other images counted" in found.sentence
    assert "of these test images alone" in these.sentence
