"""Intervals of variance shares: against a search on the effects themselves, and by coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from results.statistics.design.design import Array
from results.statistics.design.share_parts import Term
from results.statistics.shares.share_intervals import gap_interval, share_interval


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
    variance = between(found) + between(other)
    share = between(found) / variance
    pulls, slopes, noises, widths = [], 0.0, [], []
    for part, pull, size in ((found, 1 - true, max(true, 0)), (other, -true, 1 - share)):
        mean = part.mean(0)
        covariance = np.cov(part, rowvar=False).reshape(part.shape[1], -1)
        trace = np.trace(covariance)
        squared = (np.trace(covariance @ covariance) - trace**2 / (seeds - 1)) * (
            (seeds - 1) ** 2 / (seeds - 2) / (seeds + 1)
        )
        most = part.shape[1] if part is found else np.inf
        widths.append(np.clip(trace**2 / squared if squared > 0 else np.inf, 1, most))
        seen = mean @ mean / variance
        slopes = slopes + pull * np.sqrt(max(size, 0) / seen) * 2 * part @ mean / variance
        noises.append(pull * trace / seeds / variance)
        pulls.append(pull)
    along = t * slopes.std(ddof=1) / np.sqrt(seeds)
    squares = np.square(noises) / np.minimum(widths, 2**31 - 1)
    joint = squares.sum() ** 2 / (squares**2 / np.minimum(widths, 2**31 - 1)).sum()
    law = stats.f(joint, joint * (seeds - 1))
    downwards = np.array(pulls) * (1 if true > share else -1) > 0
    reach = abs(law.ppf(np.where(downwards, 0.025, 0.975)) - 1)
    noise = np.sqrt((joint * squares * reach**2).sum())
    return bool(abs(share - true) <= np.hypot(along, noise))


def between(values: Array) -> float:
    """Return the unbiased variance of effects, [S, d]."""
    covariance = np.cov(values, rowvar=False).reshape(values.shape[1], -1)
    return float(values.mean(0) @ values.mean(0) - np.trace(covariance) / len(values))


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
            if 0 < end < 1:  # nothing lies beyond what is possible
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
    parts = [effects(rng, 3.0, np.ones(3), 3) for _ in range(3)]
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
    # Four standard errors about 93 and 98 %. The two parts of a difference's error add, each as if
    # the other were none: where neither effect is there, its interval is a wide one.
    assert (hits / tries >= 0.89).all(), hits / tries
    assert (hits[:2] / tries <= 0.995).all(), hits / tries


def test_an_interval_says_how_noisy_the_whole_is() -> None:
    """One factor has all the noise: the other's share, of the whole, is uncertain by it as well."""
    rng = np.random.default_rng(3)
    tries, hits = 300, np.zeros(2)
    for _ in range(tries):
        quiet = effects(rng, 1.0, np.zeros(2), 3)
        noisy = effects(rng, 0.0, np.full(3, 0.5), 3)
        total = whole(quiet, noisy, effects(rng, 0.8, np.zeros(2), 3))
        true = 1 / 1.64
        (low,), (high,) = share_interval([term(quiet)], total)
        start, end = gap_interval(term(quiet), term(noisy), total)
        hits += low - 1e-9 <= true <= high + 1e-9, start <= true <= end
    assert (hits / tries >= 0.93).all(), hits / tries


def test_intervals_lie_within_what_is_possible() -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        parts = [effects(rng, 2.0, np.ones(3), 3) for _ in range(3)]
        total = whole(*parts)
        variance = sum(between(part) for part in parts)
        assert variance > 0
        shares = np.array([between(part) for part in parts]) / variance
        low, high = share_interval([term(part) for part in parts], total)
        assert (low >= np.minimum(0, shares) - 1e-12).all()
        assert (high <= np.maximum(1, shares) + 1e-12).all()
