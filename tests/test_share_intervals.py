"""Intervals of variance shares: against a search on the effects themselves, and by coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from results.statistics.design import Array
from results.statistics.share_intervals import Term, gap_interval, share_interval


def effects(rng: np.random.Generator, size: float, noise: Array, seeds: int) -> Array:
    """Return a term's effects at the seeds, [S, d]: a mean of length ``size``, and noise."""
    mean = rng.standard_normal(len(noise))
    return np.asarray(
        size * mean / np.linalg.norm(mean) + noise * rng.normal(size=(seeds, len(noise)))
    )


def term(found: Array) -> Term:
    return Term(found @ found.T, found.shape[1])


def whole(*parts: Array) -> Array:
    return np.asarray(sum(part @ part.T for part in parts))


def one_share(found: Array, other: Array, true: float) -> bool:
    """Whether a share is within the error that it would bring, from the effects themselves."""
    seeds = len(found)
    t = stats.t.ppf(0.975, seeds - 1)

    def between(values: Array) -> float:
        covariance = np.cov(values, rowvar=False).reshape(values.shape[1], -1)
        return float(values.mean(0) @ values.mean(0) - np.trace(covariance) / seeds)

    variance = between(np.concatenate([found, other], axis=1))
    share = between(found) / variance
    covariance = np.cov(found, rowvar=False).reshape(found.shape[1], -1)
    trace = np.trace(covariance)
    squared = (np.trace(covariance @ covariance) - trace**2 / (seeds - 1)) * (
        (seeds - 1) ** 2 / (seeds - 2) / (seeds + 1)
    )
    degrees = np.clip(trace**2 / squared if squared > 0 else np.inf, 1, found.shape[1])
    law = stats.f(degrees, degrees * (seeds - 1))
    noise = trace / seeds / variance * abs(law.ppf(0.975 if share > true else 0.025) - 1)
    slopes = 2 * found @ found.mean(0) - 2 * share * (found @ found.mean(0) + other @ other.mean(0))
    seen = found.mean(0) @ found.mean(0) / variance
    along = t * np.sqrt(max(true, 0) / seen) * slopes.std(ddof=1) / variance / np.sqrt(seeds)
    return bool(abs(share - true) <= np.hypot(along, noise))


@pytest.mark.parametrize("size", [0.0, 0.5, 3.0])
def test_an_interval_is_where_the_estimate_is_in_the_ordinary(size: float) -> None:
    rng = np.random.default_rng(0)
    for seeds in (3, 6):
        found = effects(rng, size, np.array([1.0, 0.5, 0.5]), seeds)
        other = effects(rng, 4.0, np.ones(4), seeds)
        (low,), (high,) = share_interval([term(found)], whole(found, other))
        inside, outside = 1 - 1e-6, 1 + 1e-6
        middle = (low + high) / 2
        for end in (low, high):
            assert one_share(found, other, middle + (end - middle) * inside)
            assert not one_share(found, other, middle + (end - middle) * outside)


def test_a_difference_turned_round_is_its_negative() -> None:
    rng = np.random.default_rng(1)
    for size in (0.0, 0.3, 2.0):
        first = effects(rng, size, np.ones(3), 4)
        second = effects(rng, 2 * size, np.full(2, 0.5), 4)
        total = whole(first, second, effects(rng, 3.0, np.ones(5), 4))
        low, high = gap_interval(term(first), term(second), total)
        assert gap_interval(term(second), term(first), total) == pytest.approx((-high, -low))
        scaled = [Term(25 * term(one).gram, one.shape[1]) for one in (first, second)]
        assert gap_interval(*scaled, 25 * total) == pytest.approx((low, high))


def test_an_interval_holds_its_estimate_and_needs_three_seeds() -> None:
    rng = np.random.default_rng(2)
    parts = [effects(rng, 1.0, np.ones(3), 3) for _ in range(3)]
    total = whole(*parts)
    pairs = ~np.eye(3, dtype=bool)
    shares = [term(part).gram[pairs].sum() / total[pairs].sum() for part in parts]
    low, high = share_interval([term(part) for part in parts], total)
    assert (low < shares).all()
    assert (shares < high).all()
    low_gap, high_gap = gap_interval(term(parts[0]), term(parts[1]), total)
    assert low_gap < shares[0] - shares[1] < high_gap
    two = [Term(term(part).gram[:2, :2], 3) for part in parts]
    assert np.isnan(share_interval(two, total[:2, :2])).all()
    assert np.isnan(gap_interval(two[0], two[1], total[:2, :2])).all()


def test_without_noise_there_is_no_uncertainty() -> None:
    mean, rest = np.array([1.0, 2.0]), np.array([3.0])
    parts = [np.tile(mean, (4, 1)), np.tile(rest, (4, 1)), np.zeros((4, 2))]
    low, high = share_interval([term(part) for part in parts], whole(*parts))
    np.testing.assert_allclose(low, [5 / 14, 9 / 14, 0], atol=1e-7)
    np.testing.assert_allclose(high, [5 / 14, 9 / 14, 0], atol=1e-7)
    gap = gap_interval(term(parts[0]), term(parts[1]), whole(*parts))
    assert gap == pytest.approx((-4 / 14, -4 / 14), abs=1e-7)


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("sizes", [(0.0, 0.0), (0.0, 0.5), (0.5, 1.0), (3.0, 3.0)])
def test_absent_small_and_large_shares_are_covered(seeds: int, sizes: tuple[float, float]) -> None:
    """The noise of one term is larger in some directions than in others."""
    rng = np.random.default_rng(seeds)
    tries, hits = 400, np.zeros(3)
    for _ in range(tries):
        first = effects(rng, sizes[0], np.array([0.6, 1.0, 1.4]), seeds)
        second = effects(rng, sizes[1], np.ones(2), seeds)
        total = whole(first, second, effects(rng, 6.0, np.ones(4), seeds))
        true = np.square(sizes) / (np.square(sizes).sum() + 36)
        low, high = share_interval([term(first), term(second)], total)
        hits[:2] += (low <= true) & (true <= high)
        start, end = gap_interval(term(first), term(second), total)
        hits[2] += start <= true[0] - true[1] <= end
    # Four standard errors about 93 and 98 %.
    assert (hits / tries >= 0.89).all(), hits / tries
    assert (hits / tries <= 0.995).all(), hits / tries
