r"""Trials that are missing at some seeds: least squares on what is there, and what it leaves open.

Each cell has its own expectation and each seed its own grand mean and main effects,
:math:`y_{cs} = \mu_c + \nu_s(c) + \varepsilon_{cs}`, fitted to the trials that were run. What is
missing is predicted; where a cell was run at no seed, by the main effects and the interactions of
two factors of the cells that were. A
prediction is no observation: seeds whose trials were predicted from one another look alike, and the
more was predicted, the more so. So the same fit is made of pure noise, missing the same trials, and
the seeds' deviations from their mean are stretched until their scatter is the error that their mean
then has, as in the same noise whole: of main effects by one factor, of interactions by another. The
degrees of freedom are those of that scatter (Satterthwaite, 1946): fewer than seeds less one where
some seeds say less than others. They are taken for fewer still, by the root of the share of trials
that was run, of cells that were run at all: between all of them, which are left of noise that all
trials of a seed share, and that share of them, which is left of each trial's own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from results.statistics.design.yates import effects_of

if TYPE_CHECKING:
    from results.statistics.design.design import Array

PROBES = 200
"""Fits of pure noise in a small design: they tell the stretch to a few percent."""
MOST_PROBED = 2_000_000
"""Numbers in all probes of a large one, where fewer tell as much; two at least."""
PRECISE, ROUGH = 1e-9, 1e-3
"""Of a residual's length, at which a fit of the data and of noise ends."""
MOST_STEPS = 300


class Completed(NamedTuple):
    """Values without gaps, and what their seeds are worth."""

    values: Array
    """The seeds' deviations stretched; NaN in cells that are excluded."""
    degrees: float
    """Of freedom of the scatter of the seeds."""


def completed(values: Array) -> Completed:
    """Predict what is missing at some seeds, and stretch the seeds' deviations.

    Args:
        values: [levels of factor 1, ..., S], NaN where a trial is missing.

    Source:
        Least squares with missing observations: Yates, 1933. Degrees of freedom of a quadratic
        form: Satterthwaite, 1946.
    """
    there = ~np.isnan(values)
    fitted = _fitted(np.where(there, values, 0.0)[None], there, PRECISE)[0]
    holes = excluded(np.asarray(there.any(axis=-1)))
    if values.shape[-1] == 1:  # no scatter
        fitted[holes] = np.nan
        return Completed(fitted, 0.0)
    count = int(np.clip(MOST_PROBED // values.size, 2, PROBES))
    noise = np.random.default_rng(0).standard_normal((count, *values.shape))
    short = _shortfall(_fitted(noise * there, there, ROUGH)) / _shortfall(noise)
    main, rest = np.sqrt(short[:2])
    mean = fitted.mean(axis=-1, keepdims=True)
    apart = fitted - mean
    of_main = _main(apart[None])[0]
    with np.errstate(invalid="ignore"):
        stretched = mean + main * of_main + rest * (apart - of_main)
    stretched[holes] = np.nan
    present = np.sqrt(there[there.any(axis=-1)].mean())
    return Completed(stretched, float(present * short[2] * (values.shape[-1] - 1)))


def excluded(run: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which cells have two levels that were never run together: nothing tells what they do.

    Args:
        run: which cells were run at any seed, [levels of factor 1, ...].
    """
    never = np.zeros(run.shape, dtype=bool)
    for pair in itertools.combinations(range(run.ndim), 2):
        others = tuple(axis for axis in range(run.ndim) if axis not in pair)
        never |= ~run.any(axis=others, keepdims=True)
    return never


def _shortfall(noise: Array) -> Array:
    """Return by how much the seeds' scatter falls short of their mean's squared error.

    Args:
        noise: of unit variance, or a fit of it, [probes, levels of factor 1, ..., S].

    Returns:
        By how much in main effects, in interactions, and the scatter's degrees of freedom.
    """
    cells = tuple(range(1, noise.ndim - 1))
    mean = noise.mean(axis=-1, keepdims=True)
    apart = noise - mean
    main, of_seeds = _main(mean), _main(apart)
    rest, of_rest = np.sum((mean - main) ** 2), np.sum((apart - of_seeds) ** 2)
    # The grand mean is in no term's share.
    main, of_seeds = (part - part.mean(axis=cells, keepdims=True) for part in (main, of_seeds))
    flat = of_seeds.reshape(-1, noise.shape[-1])
    gram = flat.T @ flat
    with np.errstate(divide="ignore", invalid="ignore"):  # no scatter is left: NaN, no interval
        return np.array([
            np.sum(main**2) / np.trace(gram),
            rest / of_rest if of_rest > 0 else 1.0,
            np.trace(gram) ** 2 / np.sum(gram**2),
        ])  # fmt: skip


def _fitted(values: Array, there: NDArray[np.bool_], precision: float) -> Array:
    """Return the values with the model's prediction where they are missing.

    Cells that were run at no seed get the prediction of effects of one and of two factors.

    Args:
        values: [batch, levels of factor 1, ..., S], zero where missing.
        there: which are not, [levels of factor 1, ..., S].
        precision: of the least squares.
    """
    weight = there / np.maximum(there.sum(axis=-1, keepdims=True), 1)

    def within(array: Array) -> Array:
        """Return deviations from a cell's mean over the seeds at which it was run."""
        return np.asarray(there * (array - (array * weight).sum(axis=-1, keepdims=True)))

    by_seed = _solved(lambda v: _main(within(v)), _main(within(values)), precision)
    by_seed = by_seed - by_seed.mean(axis=-1, keepdims=True)
    cell = ((values - by_seed) * weight).sum(axis=-1, keepdims=True)
    run = there.any(axis=-1, keepdims=True)
    if not run.all():
        pairs = _solved(lambda v: _upto(2, run * v), _upto(2, run * cell), precision)
        cell = np.where(run, cell, pairs)
    return np.where(there, values, cell + by_seed)


def _main(values: Array) -> Array:
    """Return the grand mean plus all main effects of each [batch, levels, ..., S], as large."""
    return _upto(1, values)


def _upto(order: int, values: Array) -> Array:
    """Return all effects of up to some factors of each [batch, levels, ..., S], as large."""
    flat = np.moveaxis(values, 0, -1).reshape(*values.shape[1:-1], -1)
    axes = [axis for axis, size in enumerate(flat.shape[:-1]) if size > 1]
    wanted = [t for n in range(order + 1) for t in itertools.combinations(axes, n)]
    total = sum(effects_of(flat, wanted).values(), np.zeros(()))
    together = np.broadcast_to(total, flat.shape).reshape(*values.shape[1:], len(values))
    return np.moveaxis(together, -1, 0)


def _solved(operator: Callable[[Array], Array], right: Array, precision: float) -> Array:
    """Solve a symmetric positive semi-definite system for each of a batch, by conjugate gradients.

    Where the system leaves something open, the shortest solution is found.
    """
    axes = tuple(range(1, right.ndim))
    solution, residual, direction = np.zeros_like(right), right, right
    size = (residual**2).sum(axis=axes, keepdims=True)
    enough = precision**2 * size.max()
    for _ in range(MOST_STEPS):
        if size.max() <= enough:
            break
        image = operator(direction)
        along = (direction * image).sum(axis=axes, keepdims=True)
        step = np.divide(size, along, out=np.zeros_like(size), where=along > 0)
        solution = solution + step * direction
        residual = residual - step * image
        after = (residual**2).sum(axis=axes, keepdims=True)
        direction = residual + direction * np.divide(
            after, size, out=np.zeros_like(size), where=size > 0
        )
        size = after
    return solution
