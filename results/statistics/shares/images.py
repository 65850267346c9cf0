r"""The test images as a second random factor: what another draw of as many would change.

All networks are judged on the same images, so that no scatter of seeds shows what these images
do to an effect. With :math:`z_{si}` a term's effects at seed *s* on image *i*, images are taken as
drawn independently: products of *different* seeds tell their covariance without the noise of single
trials, which the seeds' own scatter has in it already (Cameron, Gelbach and Miller, 2011, take
it off likewise).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.statistics.design.design import Array, Design
from results.statistics.design.share_parts import ImageScatter
from results.statistics.levels.by_image import Outcomes, network_outcomes

WIDE = 1e9
"""Directions of what lies in very many."""


@dataclass(frozen=True)
class Pictures:
    """Each trial's outcomes by image."""

    outcomes: Outcomes
    row: NDArray[np.intp]
    """Which of the outcomes are a trial's, [levels of factor 1, ..., S]; -1 where it is missing."""

    @property
    def count(self) -> int:
        """The number of test images."""
        return self.outcomes.images

    def keeping(self, axis: int, keep: list[int]) -> Pictures:
        """Return the outcomes of some levels of the factor on an axis."""
        return replace(self, row=np.take(self.row, keep, axis))


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
    outcomes = network_outcomes(done, evaluations, metric)
    row = np.full([len(of) for of in levels], -1)
    row[tuple(codes)] = outcomes.networks.get_indexer(pd.Index(done["finetuned_network"]))
    return Pictures(outcomes, row)


def image_scatter(design: Design, pictures: Pictures, pair: tuple[str, str]) -> ImageScatter:
    """Return what images add to the errors of two main effects, and of all other terms together."""
    run = design.there
    row = pictures.row[run]  # [cells, S]
    cells, seeds = row.shape
    count = pictures.count
    maps = [_level_effects(design, name) for name in pair]
    there = row >= 0
    mean = sum(there[:, [s]] * _bits(pictures.outcomes, row[:, s]) for s in range(seeds))
    mean = mean / there.sum(axis=1, keepdims=True)  # [cells, images]
    accuracy = mean.mean(axis=1)
    toward = 2 * (accuracy - accuracy.mean()) / cells
    by_seed, along, alone = [], [], 0.0
    for s in range(seeds):
        right = np.where(there[:, [s]], _bits(pictures.outcomes, row[:, s]), mean)
        right = right - right.mean(axis=1, keepdims=True)
        found = [one @ right for one in maps]
        by_seed.append(found)
        along.append([2 * (one @ accuracy) @ z for one, z in zip(maps, found, strict=True)])
        along[-1].append(toward @ right - sum(along[-1]))
        alone += _whole(right)
    pairs = seeds * (seeds - 1) * count * (count - 1)
    covariances = [
        _between(np.stack([found[k] for found in by_seed])) / pairs for k in range(len(pair))
    ]
    centred = mean - mean.mean(axis=1, keepdims=True)
    whole = max(0.0, (seeds**2 * _whole(centred) - alone) / pairs)
    noise = [max(0.0, float(np.trace(one))) for one in covariances]
    noise.append(max(0.0, whole - sum(noise)))
    directions = [_directions(one) for one in covariances]
    return ImageScatter(
        noise=np.array(noise),
        directions=np.array([*directions, WIDE]),
        along=_between(np.array(along)) / pairs,
    )


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
