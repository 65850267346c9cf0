"""Simulated sweeps with known shares: what `benchmarks/calibration.py` tries intervals on.

A balanced design of 96 cells, as in the demo, with seed blocks, noise that a seed's trials of one
level share, and noise of each trial.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.statistics.design.design import Array, Design
from results.statistics.design.missing import completed
from results.statistics.levels.by_image import Outcomes
from results.statistics.shares.images import Pictures

NAMES = ("architecture", "criterion", "sparsity", "allocation", "finetuning")
SIZES = (2, 4, 2, 2, 3)
LEVELS = tuple(tuple(range(size)) for size in SIZES)
UNLIKE = ((0.2, 0.5, 1.0, 2.0), (0.0, 1.0, 2.0))
"""Levels' noise against one another: of criteria, of fine-tunings."""


@dataclass(frozen=True)
class Setting:
    """What is true of a sweep, and what is amiss with it."""

    truth: tuple[float, float, float]
    """Effects of criterion, fine-tuning and their interaction, root mean square."""
    criterion: float = 0.012
    """Standard deviation of the noise that trials of one criterion share at a seed."""
    finetuning: float = 0.012
    """The same of one fine-tuning and architecture."""
    trial: float = 0.02
    """The same of each trial."""
    levels: tuple[tuple[float, ...], tuple[float, ...]] = ((1.0,) * 4, (1.0,) * 3)
    """By what each level's noise is multiplied, of criteria and of fine-tunings."""
    missing: float = 0.0
    """Share of the trials that are missing at random."""
    half: bool = False
    """Whether the last seed is half done."""
    collapse: float = 0.0
    """Share of the seeds at which the last criterion collapses."""


def effect(rng: np.random.Generator, scale: float, shape: tuple[int, ...]) -> Array:
    """Return a random effect of zero marginal means and a given root mean square."""
    values = rng.standard_normal(shape)
    for axis in range(len(shape)):
        if shape[axis] > 1:
            values = values - values.mean(axis=axis, keepdims=True)
    return np.asarray(scale * values / np.sqrt(np.mean(values**2)))


def cells(rng: np.random.Generator, truth: tuple[float, float, float]) -> Array:
    """Return the expected value of every cell."""
    criterion, finetuning, both = truth
    return (
        effect(rng, 0.05, (2, 1, 1, 1, 1))
        + effect(rng, 0.06, (1, 1, 2, 1, 1))
        + effect(rng, criterion, (1, 4, 1, 1, 1))
        + effect(rng, finetuning, (1, 1, 1, 1, 3))
        + effect(rng, both, (1, 4, 1, 1, 3))
    )


def shares(values: Array) -> tuple[float, float]:
    """Return the true main-effect shares of criterion and fine-tuning."""
    total = values.var()
    criterion = values.mean(axis=(0, 2, 3, 4)).var()
    return criterion / total, values.mean(axis=(0, 1, 2, 3)).var() / total


def noise(rng: np.random.Generator, seeds: int, setting: Setting) -> Array:
    """Return the noise of a sweep, [levels of factor 1, ..., S]."""
    criterion, finetuning = (
        np.array(of) / np.sqrt(np.mean(np.square(of))) for of in setting.levels
    )
    return (
        rng.normal(0, 0.02, (1, 1, 1, 1, 1, seeds))
        + setting.criterion
        * rng.standard_normal((1, 4, 1, 1, 1, seeds))
        * criterion[:, None, None, None, None]
        + setting.finetuning * rng.standard_normal((2, 1, 1, 1, 3, seeds)) * finetuning[:, None]
        + setting.trial * rng.standard_normal((*SIZES, seeds))
    )


def sweep(
    rng: np.random.Generator, setting: Setting, seeds: int
) -> tuple[Design, tuple[float, float], bool]:
    """Return a simulated sweep, its true shares, and whether a collapse struck some seeds only."""
    base = cells(rng, setting.truth)
    last = np.array([0.0, 0, 0, 1])[:, None, None, None]
    struck = rng.random(seeds) < setting.collapse
    values = base[..., None] + noise(rng, seeds, setting) - 0.3 * last[..., None] * struck
    there = rng.random(values.shape) >= setting.missing
    if setting.half:
        there[..., -1] &= rng.random(SIZES) < 0.5
    degrees: float | None = None
    if not there.all():
        values, degrees = completed(np.where(there, values, np.nan))
    design = Design(NAMES, LEVELS, tuple(range(seeds)), values, (), degrees)
    return design, shares(base - 0.3 * setting.collapse * last), bool(0 < struck.sum() < seeds)


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
    return design, true, Pictures(Outcomes(names, packed, images), rows)
