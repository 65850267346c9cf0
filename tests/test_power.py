"""The chance that more seeds decide: against sweeps that are simulated and decided one by one."""

from __future__ import annotations

import numpy as np

from results.statistics.design.design import Design
from results.statistics.shares.comparison import UNDECIDED, compare_main_effects
from results.statistics.shares.decomposition import measured_terms, total_gram
from results.statistics.shares.power import ENOUGH, power

LEVELS = ((0, 1, 2), (0, 1, 2))
NAMES = ("criterion", "finetuning")


def sweep(rng: np.random.Generator, seeds: int, larger: float) -> Design:
    """Effects of one and of ``larger``, in noise that every seed's levels share."""
    ways = np.array([-1.0, 0.0, 1.0]) * 1.5**0.5
    values = ways[:, None, None] + larger * ways[None, :, None]
    values = values + rng.normal(0, 0.5, (3, 1, seeds)) + rng.normal(0, 0.5, (1, 3, seeds))
    return Design(
        NAMES, LEVELS, tuple(range(seeds)), values + rng.normal(0, 0.2, (3, 3, seeds)), ()
    )


def test_the_chance_is_how_often_such_sweeps_are_decided() -> None:
    rng = np.random.default_rng(0)

    # Of many small sweeps, one whose estimates are near the truth.
    def off(design: Design) -> float:
        found = compare_main_effects(design)
        return abs(found.difference.value - (1.25**2 - 1) / (1.25**2 + 1))

    near = min((sweep(rng, 9, 1.25) for _ in range(30)), key=off)
    terms = measured_terms(near, NAMES)
    seeds, chance = power(terms["finetuning"], terms["criterion"], total_gram(near))
    decided = np.mean(
        [compare_main_effects(sweep(rng, seeds, 1.25)).winner != UNDECIDED for _ in range(100)]
    )
    assert chance >= ENOUGH
    assert abs(chance - decided) < 0.2  # three standard errors, and what is measured differs


def test_alike_effects_are_promised_nothing() -> None:
    values = np.array([-1.0, 0, 1])[:, None, None] + np.array([-1.0, 0, 1])[None, :, None]
    noise = np.array([-0.3, 0.0, 0.3])  # the same of both: measured alike to the last digit
    along = np.array([-1.0, 0, 1])
    values = values + along[:, None, None] * noise + along[None, :, None] * noise[::-1]
    design = Design(NAMES, LEVELS, (0, 1, 2), values, ())
    terms = measured_terms(design, NAMES)
    assert power(terms["finetuning"], terms["criterion"], total_gram(design)).chance < 0.15
