r"""The test images as a second random factor: what another draw of as many would change.

All networks of a data set are judged on the same images, so that no scatter of seeds shows what
these images do to an effect. With :math:`z_{si}` a term's effects at seed *s* on image *i*, images
are taken as drawn independently: products of *different* seeds tell their covariance without the
noise of single trials, which the seeds' own scatter has in it already (Cameron, Gelbach and Miller,
2011, take it off likewise).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.statistics.design.design import STRATUM, Array, Design, strata
from results.statistics.design.share_parts import ImageScatter
from results.statistics.levels.by_image import Outcomes, network_outcomes

WIDE = 1e9
"""Directions of what lies in very many."""


@dataclass(frozen=True)
class Pictures:
    """Each trial's outcomes by image, of every data set: each has images of its own."""

    outcomes: tuple[Outcomes, ...]
    row: NDArray[np.intp]
    """Which of its data set's outcomes are a trial's, [levels of factor 1, ..., S]; -1 where it is
    missing."""
    part: NDArray[np.intp]
    """Which of the outcomes a trial's are among, as long as ``row``; -1 where it is missing."""

    def keeping(self, axis: int, keep: list[int]) -> Pictures:
        """Return the outcomes of some levels of the factor on an axis."""
        return replace(self, row=np.take(self.row, keep, axis), part=np.take(self.part, keep, axis))


def pictures_of(
    trials: pd.DataFrame, evaluations: pd.DataFrame, metric: str, design: Design
) -> Pictures:
    """Return the outcomes of a design's trials.

    Raises:
        AnalysisError: where they are missing, or do not add up to the trials' accuracies.
    """
    done = trials[(trials["status"] == "done") & trials[metric].notna()]
    names, levels = (*design.factors, "seed"), (*design.levels, design.seeds)
    codes = np.stack([pd.Index(of).get_indexer(pd.Index(done[name]))
                      for name, of in zip(names, levels, strict=True)])  # fmt: skip
    kept = np.asarray((codes >= 0).all(axis=0))
    done, codes = done.loc[kept], codes[:, kept]
    images = codes[names.index(STRATUM)] if STRATUM in names else np.zeros(len(done), dtype=int)
    row = np.full([len(of) for of in levels], -1)
    part, found = row.copy(), []
    for number, of in enumerate(np.unique(images)):
        mine, at = done.loc[images == of], tuple(codes[:, images == of])
        found.append(network_outcomes(mine, evaluations, metric))
        row[at] = found[-1].networks.get_indexer(pd.Index(mine["finetuned_network"]))
        part[at] = number
    return Pictures(tuple(found), row, part)


def image_scatter(design: Design, pictures: Pictures, pair: tuple[str, str]) -> ImageScatter:
    """Return what images add to the errors of two main effects, and of all other terms together.

    Images of different data sets are independent, so that what they add is summed.
    """
    run = design.there
    row, part = pictures.row[run], pictures.part[run]  # [cells, S]
    maps = [_level_effects(design, name) for name in pair]
    sets = [
        _OneSet.of(outcomes, row, np.flatnonzero((part == number).any(axis=1)))
        for number, outcomes in enumerate(pictures.outcomes)
        if (part == number).any()
    ]
    accuracy = np.zeros(len(row))
    for one in sets:
        accuracy[one.cells] = one.mean.mean(axis=1)
    toward = np.zeros(len(row))
    for cells in strata(design):
        toward[cells] = 2 * (accuracy[cells] - accuracy[cells].mean()) / len(row)
    covariances = [np.zeros((len(one), len(one))) for one in maps]
    along, whole = np.zeros((len(pair) + 1, len(pair) + 1)), 0.0
    for one in sets:
        added = one.scatter(maps, accuracy, toward)
        covariances = [sum_ + new for sum_, new in zip(covariances, added[0], strict=True)]
        along, whole = along + added[1], whole + added[2]
    noise = [max(0.0, float(np.trace(one))) for one in covariances]
    noise.append(max(0.0, whole - sum(noise)))
    directions = [_directions(one) for one in covariances]
    return ImageScatter(
        noise=np.array(noise), directions=np.array([*directions, WIDE]), along=along
    )


@dataclass(frozen=True)
class _OneSet:
    """The cells of one data set, and what its images do to them."""

    outcomes: Outcomes
    cells: NDArray[np.intp]
    """Which of the design's they are."""
    row: NDArray[np.intp]
    """Which of the outcomes are a trial's, [cells, S]; -1 where it is missing."""
    mean: Array
    """Over seeds, [cells, images]."""

    @classmethod
    def of(cls, outcomes: Outcomes, row: NDArray[np.intp], cells: NDArray[np.intp]) -> _OneSet:
        row = row[cells]
        there = row >= 0
        seeds = row.shape[1]
        mean = sum(there[:, [s]] * _bits(outcomes, row[:, s]) for s in range(seeds))
        return cls(outcomes, cells, row, mean / there.sum(axis=1, keepdims=True))

    def scatter(
        self, maps: list[Array], accuracy: Array, toward: Array
    ) -> tuple[list[Array], Array, float]:
        """Return the covariance of each factor's effects, that along them, and the whole noise.

        Args:
            maps: from all cells to a factor's effects, [levels, cells of the design].
            accuracy: of all cells.
            toward: by how much the whole variance grows with each.
        """
        (cells, seeds), count = self.row.shape, self.outcomes.images
        mine = [one[:, self.cells] for one in maps]
        there = self.row >= 0
        by_seed, along, alone = [], [], 0.0
        for s in range(seeds):
            right = np.where(there[:, [s]], _bits(self.outcomes, self.row[:, s]), self.mean)
            right = right - right.mean(axis=1, keepdims=True)
            found = [one @ right for one in mine]
            by_seed.append(found)
            along.append([2 * (one @ accuracy) @ z for one, z in zip(maps, found, strict=True)])
            along[-1].append(toward[self.cells] @ right - sum(along[-1]))
            alone += _whole(right)
        pairs = seeds * (seeds - 1) * count * (count - 1)
        covariances = [
            _between(np.stack([found[k] for found in by_seed])) / pairs for k in range(len(maps))
        ]
        centred = self.mean - self.mean.mean(axis=1, keepdims=True)
        whole = max(0.0, (seeds**2 * _whole(centred) - alone) / pairs)
        return covariances, _between(np.array(along)) / pairs, whole * cells / len(accuracy)


def _bits(outcomes: Outcomes, rows: NDArray[np.intp]) -> Array:
    """Return each network's outcomes, [networks, images]; of one that is missing, any."""
    bits = np.unpackbits(outcomes.packed[rows], axis=1, count=outcomes.images)
    return bits.astype(float)


def _level_effects(design: Design, factor: str) -> Array:
    """Return the map from cells to a factor's effects in the additive model, [levels, cells].

    The squares of what comes out sum to the variance between the levels.
    """
    columns, wanted = [np.ones((design.cells, 1))], slice(0)
    for name, levels, of in zip(
        design.factors, design.levels, np.nonzero(design.there), strict=True
    ):
        code = np.vstack([np.eye(len(levels) - 1), -np.ones(len(levels) - 1)])
        if name == factor:
            start = sum(block.shape[1] for block in columns)
            wanted, own = slice(start, start + len(levels) - 1), code
        columns.append(code[of])
    solved = np.linalg.pinv(np.concatenate(columns, axis=1))[wanted]
    return np.asarray(own @ solved / np.sqrt(len(own)))


def _between(values: Array) -> Array:
    """Return the sum of products of different seeds, [p, p], of values [S, p, images]."""
    together = values.sum(axis=0)
    return np.asarray(together @ together.T - np.einsum("spi,sqi->pq", values, values))


def _whole(values: Array) -> float:
    """Return the squares of deviations from an image's mean, of [cells, images], by cell."""
    return float((values**2).sum() / len(values) - (values.mean(axis=0) ** 2).sum())


def _directions(covariance: Array) -> float:
    squares = float((covariance**2).sum())
    return max(1.0, float(np.trace(covariance)) ** 2 / squares) if squares > 0 else 1.0
