"""Simulated sweeps with known shares: what `benchmarks/calibration.py` tries intervals on.

As a rule a balanced design of 96 cells, as in the demo, with seed blocks, noise that a seed's
trials of one level share, and noise of each trial.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.statistics.design.design import Array, Design
from results.statistics.design.missing import completed
from results.statistics.levels.by_image import Outcomes
from results.statistics.shares.images import Pictures

NAMES = ("architecture", "criterion", "sparsity", "allocation", "finetuning")
SIZES = (2, 4, 2, 2, 3)
UNLIKE = ((0.2, 0.5, 1.0, 2.0), (0.0, 1.0, 2.0))
"""Levels' noise against one another: of criteria, of fine-tunings."""
SEED, DEPTH = 0.02, 0.3
"""The seeds' own standard deviation; and how far a collapse falls."""


class Simulated(NamedTuple):
    """A simulated sweep, and what is true of it."""

    design: Design
    true: tuple[float, float]
    """The shares of criterion and fine-tuning."""
    as_seen: tuple[float, float]
    """The same if all seeds were as these, where a collapse struck none of them, or all."""


@dataclass(frozen=True)
class Setting:
    """What is true of a sweep, and what is amiss with it."""

    truth: tuple[float, float, float]
    """Effects of criterion, fine-tuning and their interaction, root mean square."""
    sizes: tuple[int, int, int, int, int] = SIZES
    """The numbers of levels."""
    criterion: float = 0.012
    """Standard deviation of the noise that trials of one criterion share at a seed."""
    finetuning: float = 0.012
    """The same of one fine-tuning and architecture."""
    both: float = 0.0
    """The same of one criterion and fine-tuning."""
    trial: float = 0.02
    """The same of each trial."""
    heavy: bool = False
    """Whether trials' noise is Student's t of three degrees, not normal."""
    levels: tuple[tuple[float, ...], tuple[float, ...]] = ((1.0,) * 4, (1.0,) * 3)
    """By what each level's noise is multiplied, of criteria and of fine-tunings."""
    architectures: float = 1.0
    """By what all noise of the last architecture is larger than that of the first."""
    missing: float = 0.0
    """Share of the trials that are missing at random."""
    low: float = 0.0
    """The same, up to twice as many of low values, and few of high ones."""
    level: float = 0.0
    """Share of the last criterion's trials that are missing beside."""
    never: float = 0.0
    """Share of the cells that were run at no seed."""
    half: bool = False
    """Whether the last seed is half done."""
    collapse: float = 0.0
    """Share of the seeds at which something collapses."""
    struck: tuple[int, ...] = (1,)
    """The factors of whose last levels that is."""


def effect(rng: np.random.Generator, scale: float, shape: tuple[int, ...]) -> Array:
    """Return a random effect of zero marginal means and a given root mean square; none of one."""
    values = rng.standard_normal(shape)
    for axis in range(len(shape)):
        if shape[axis] > 1:
            values = values - values.mean(axis=axis, keepdims=True)
    if values.size == 1:
        return np.zeros(shape)
    return np.asarray(scale * values / np.sqrt(np.mean(values**2)))


def of_axes(sizes: tuple[int, ...], *axes: int) -> tuple[int, ...]:
    """Return the shape of an array that differs along some factors alone."""
    return tuple(size if axis in axes else 1 for axis, size in enumerate(sizes))


def cells(
    rng: np.random.Generator, truth: tuple[float, float, float], sizes: tuple[int, ...] = SIZES
) -> Array:
    """Return the expected value of every cell."""
    sized = zip((0.05, 0.06, *truth), ((0,), (2,), (1,), (4,), (1, 4)), strict=True)
    return sum(
        (effect(rng, scale, of_axes(sizes, *axes)) for scale, axes in sized), np.zeros(sizes)
    )


def shares(values: Array) -> tuple[float, float]:
    """Return the true main-effect shares of criterion and fine-tuning."""
    total = values.var()
    criterion = values.mean(axis=(0, 2, 3, 4)).var()
    return criterion / total, values.mean(axis=(0, 1, 2, 3)).var() / total


def noise(rng: np.random.Generator, seeds: int, setting: Setting) -> Array:
    """Return the noise of a sweep, [levels of factor 1, ..., S]."""
    sizes = setting.sizes
    criterion, finetuning, architecture = (
        np.resize(of, size) / np.sqrt(np.mean(np.square(np.resize(of, size))))
        for of, size in (
            (setting.levels[0], sizes[1]),
            (setting.levels[1], sizes[4]),
            (np.geomspace(1, setting.architectures, sizes[0]), sizes[0]),
        )
    )
    every = (*sizes, seeds)
    trial = rng.standard_t(3, every) / np.sqrt(3) if setting.heavy else rng.standard_normal(every)
    own = 0 if setting.architectures == 1 else sizes[0]
    scatter = (
        setting.criterion
        * rng.standard_normal((max(own, 1), sizes[1], 1, 1, 1, seeds))
        * criterion[:, None, None, None, None]
        + setting.finetuning
        * rng.standard_normal((sizes[0], 1, 1, 1, sizes[4], seeds))
        * finetuning[:, None]
        + setting.both * rng.standard_normal((*of_axes(sizes, 1, 4), seeds))
        + setting.trial * trial
    )
    block = rng.normal(0, SEED, (1, 1, 1, 1, 1, seeds))
    return np.asarray(block + architecture[:, None, None, None, None, None] * scatter)


def sweep(rng: np.random.Generator, setting: Setting, seeds: int) -> Simulated:
    """Return a simulated sweep."""
    sizes = setting.sizes
    base = cells(rng, setting.truth, sizes)
    last = np.zeros(of_axes(sizes, *setting.struck))
    last.flat[-1] = 1
    struck = rng.random(seeds) < setting.collapse
    values = base[..., None] + noise(rng, seeds, setting) - DEPTH * last[..., None] * struck
    there = _there(rng, setting, values)
    degrees, each = None, float(seeds)
    if not there.all():
        each = float(there[there.any(axis=-1)].sum(axis=-1).mean())
        values, degrees = completed(np.where(there, values, np.nan))
    levels = tuple(tuple(range(size)) for size in sizes)
    design = Design(NAMES, levels, tuple(range(seeds)), values, (), degrees, each)
    true = shares(base - DEPTH * setting.collapse * last)
    alike = struck.all() or not struck.any()
    return Simulated(design, true, shares(base - DEPTH * struck[0] * last) if alike else true)


def _there(rng: np.random.Generator, setting: Setting, values: Array) -> NDArray[np.bool_]:
    """Return which trials are not missing."""
    there = rng.random(values.shape) >= setting.missing
    there[:, -1] &= rng.random(there[:, -1].shape) >= setting.level
    rank = (values - values.mean()) / values.std()
    there &= rng.random(values.shape) >= 2 * setting.low / (1 + np.exp(2 * rank))
    there &= (rng.random(setting.sizes) >= setting.never)[..., None]
    if setting.half:
        there[..., -1] &= rng.random(setting.sizes) < 0.5
    return there


def pictured(
    rng: np.random.Generator, truth: tuple[float, float, float], seeds: int, images: int
) -> tuple[Design, tuple[float, float], Pictures]:
    """Return a sweep judged on a sample of images, some harder for one level than for another.

    Shares are those of all images: of the probabilities to be right.
    """
    from scipy.special import ndtri

    sizes = (2, 4, 3)
    base = effect(rng, 0.04, (2, 1, 1)) + effect(rng, truth[0], (1, 4, 1))
    base = base + effect(rng, truth[1], (1, 1, 3)) + effect(rng, truth[2], (1, 4, 3))
    hard = rng.normal(0, 0.5, images)
    by_level = [rng.normal(0, 0.25, (size, images)) for size in sizes[1:]]
    criterion, finetuning = (one - one.mean(axis=0) for one in by_level)
    spread = np.sqrt(1 + 0.25 + 0.0625 * (2 - 1 / 4 - 1 / 3))
    seen = base[..., None] + rng.normal(0, 0.012, (1, 4, 1, seeds))
    seen = seen + rng.normal(0, 0.012, (1, 1, 3, seeds)) + rng.normal(0, 0.01, (*sizes, seeds))
    latent = (ndtri(np.clip(0.5 + seen, 0.02, 0.98)) * spread)[..., None] + hard
    latent = latent + criterion[None, :, None, None] + finetuning[None, None, :, None]
    right: NDArray[np.bool_] = latent + rng.standard_normal(latent.shape) > 0
    packed = np.packbits(right.reshape(-1, images), axis=1)
    rows = np.arange(len(packed)).reshape(right.shape[:-1])
    names = pd.Index([str(row) for row in range(len(packed))])
    design = Design(
        ("sparsity", "criterion", "finetuning"), tuple(tuple(range(n)) for n in sizes),
        tuple(range(seeds)), right.mean(axis=-1), (),
    )  # fmt: skip
    true = base.mean(axis=(0, 2)).var() / base.var(), base.mean(axis=(0, 1)).var() / base.var()
    return (
        design,
        true,
        Pictures((Outcomes(names, packed, images),), rows, np.where(rows < 0, -1, 0)),
    )
