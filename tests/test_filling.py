"""A trial missing at one seed: predicted by least squares, and never counted as an observation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from results.statistics.design.design import Design
from results.statistics.design.missing import completed
from results.statistics.design.share_parts import variances
from results.statistics.shares.comparison import compare_main_effects
from results.statistics.shares.decomposition import measured_terms, total_gram

SIZES = (4, 2, 3)
LEVELS = tuple(tuple(range(size)) for size in SIZES)
NAMES = ("criterion", "sparsity", "finetuning")


def sweep(rng: np.random.Generator, seeds: int) -> np.ndarray:
    """Values of equal effects of the first and last factor, every factor with its own noise."""
    ways = [np.array([-1.0, -1, 1, 1]), np.array([-1.0, 1]), np.array([-1.0, 0, 1]) * 1.5**0.5]
    cells = 0.08 * (ways[0][:, None, None] + ways[1][:, None] / 2 + ways[2])
    noise = rng.normal(0, 0.02, (*SIZES, seeds)) + rng.normal(0, 0.012, (4, 1, 1, seeds))
    return np.asarray(cells[..., None] + noise + rng.normal(0, 0.012, (1, 1, 3, seeds)))


def test_what_is_missing_is_predicted_by_least_squares() -> None:
    """Against numpy's, of a cell's expectation and each seed's main effects."""
    rng = np.random.default_rng(0)
    values = sweep(rng, 4)
    values[rng.random(values.shape) < 0.2] = np.nan
    there = ~np.isnan(values)
    coded = [np.vstack([np.eye(n - 1), -np.ones(n - 1)]) for n in SIZES]
    columns = []
    for *cell, seed in itertools.product(*(range(n) for n in SIZES), range(4)):
        of_cell = np.zeros(SIZES)
        of_cell[tuple(cell)] = 1
        main = np.concatenate([[1.0], *(code[i] for code, i in zip(coded, cell, strict=True))])
        of_seed = np.zeros((4, len(main)))
        of_seed[seed] = main
        columns.append(np.concatenate([of_cell.ravel(), of_seed.ravel()]))
    matrix = np.array(columns)
    solved = np.linalg.lstsq(matrix[there.ravel()], values[there], rcond=1e-10)[0]
    predicted = (matrix @ solved).reshape(values.shape)
    wanted = np.where(there, values, predicted).mean(axis=-1)
    np.testing.assert_allclose(completed(values).values.mean(axis=-1), wanted, atol=1e-7)


def test_a_cell_that_was_run_at_no_seed_has_the_interactions_of_the_others() -> None:
    """By the additive model it had none: 17 % of verdicts were false at ten seeds."""
    rng = np.random.default_rng(5)
    cells = rng.normal(0, 0.1, (4, 1, 3)) + rng.normal(0, 0.1, (1, 2, 3)) + np.zeros(SIZES)
    values = np.repeat(cells[..., None], 3, axis=-1)
    values[1, 0, 2] = values[3, 1, 0] = np.nan
    found = completed(values)
    np.testing.assert_allclose(found.values, cells[..., None] + np.zeros(3), atol=1e-6)


def test_nothing_is_changed_where_nothing_is_missing() -> None:
    values = sweep(np.random.default_rng(1), 3)
    found = completed(values)
    np.testing.assert_allclose(found.values, values, atol=1e-12)
    assert found.degrees == pytest.approx(2)


def test_a_seed_that_says_less_leaves_fewer_degrees_of_freedom() -> None:
    values = sweep(np.random.default_rng(2), 3)
    values[:, 1, :, 2] = np.nan
    assert 1.3 < completed(values).degrees < 1.95


@pytest.mark.parametrize("missing", [0.15, 0.4])
def test_intervals_cover_the_truth_however_much_is_missing(missing: float) -> None:
    """Short forms of the calibration: filled in from its cell alone, 40 % cover 75."""
    rng = np.random.default_rng(3)
    tries, hits = 120, 0
    for _ in range(tries):
        values = sweep(rng, 3)
        values[rng.random(values.shape) < missing] = np.nan
        values, degrees = completed(values)
        design = Design(
            NAMES, tuple(tuple(range(n)) for n in SIZES), (0, 1, 2), values, (), degrees
        )
        low, high = compare_main_effects(design).difference[1:]
        hits += low <= 0 <= high
    assert hits / tries >= 0.91  # 95 % and two standard errors less


def test_what_is_missing_adds_nothing_to_the_variance() -> None:
    """Shares of noise stay at zero on average, interactions' too."""
    rng = np.random.default_rng(4)
    found = []
    for _ in range(80):
        values = rng.normal(0, 1, (*SIZES, 3))
        values[rng.random(values.shape) < 0.25] = np.nan
        values, degrees = completed(values)
        if np.isnan(values).any():
            continue
        design = Design(
            NAMES, tuple(tuple(range(n)) for n in SIZES), (0, 1, 2), values, (), degrees
        )
        terms = measured_terms(design)
        parts = [terms["criterion"].gram, terms["criterion:finetuning"].gram, total_gram(design)]
        found.append(variances(np.stack(parts)))
    mean, error = np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(len(found))
    assert (np.abs(mean) < 4 * error).all(), mean / error
