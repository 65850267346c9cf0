"""Comparisons image by image: the evaluations' outcomes, the same test images for every network."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.errors import AnalysisError
from results.statistics.design.design import Array
from results.statistics.design.intervals import t_quantile
from results.statistics.levels.pairwise import judged
from results.tables.schema import FACTORS

Bits = NDArray[np.uint8]


@dataclass(frozen=True)
class Outcomes:
    """Networks, and a row of bits for each: right 1, wrong 0, an image a bit, the highest first."""

    networks: pd.Index[str]
    packed: Bits
    images: int

    def right(self, rows: NDArray[np.intp]) -> Array:
        """Return how many of the networks have each image right, [images]."""
        bits = np.unpackbits(self.packed[rows], axis=1, count=self.images)
        return np.asarray(bits.sum(axis=0, dtype=float))


def compare_outcomes(
    trials: pd.DataFrame,
    evaluations: pd.DataFrame,
    metric: str,
    factor: str = "criterion",
    block: str = "seed",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Compare every two levels of a factor on the same images, paired by cell and seed.

    Both seeds and images vary: the standard error is clustered both ways, and p-values have
    seeds - 1 degrees of freedom and Holm's correction.

    Args:
        trials: rows of ``trials``, of one data set.
        evaluations: rows of ``evaluations``, of at least those trials' final networks.
        metric: of the fine-tuned networks.
        factor: the one whose levels are compared.
        block: the column whose levels are independent repetitions.
        confidence: of the intervals.

    Returns:
        A row a pair: ``first``, ``second``, ``mean`` in accuracy points with ``low`` and ``high``,
        ``p``, ``finding``, ``disagree`` (share of image x seed x cell on which the two differ in
        outcome), ``images``, ``cells``, ``seeds``.

    Source:
        Cameron, Gelbach and Miller, 2011.

    Raises:
        AnalysisError: where outcomes are missing or there is one level or seed alone.
    """
    done = trials[(trials["status"] == "done") & trials[metric].notna()]
    if "dataset" in done and done["dataset"].nunique() > 1:
        raise AnalysisError("data sets have images of their own: compare within one")
    if done[factor].nunique() < 2 or done[block].nunique() < 2:
        raise AnalysisError(f"{factor} and {block} need two levels each to be compared by image")
    outcomes = network_outcomes(done, evaluations, metric)
    context = [name for name in FACTORS if name in done and name != factor]
    placed = done.assign(_row=outcomes.networks.get_indexer(pd.Index(done["finetuned_network"])))
    rows_of = {
        level: part.set_index([*context, block])["_row"] for level, part in placed.groupby(factor)
    }
    rows = []
    for first, second in itertools.combinations(sorted(done[factor].unique()), 2):
        both = pd.concat(
            [rows_of[level] for level in (first, second)],
            axis=1, keys=("first", "second"), join="inner",
        )  # fmt: skip
        if both.empty:
            continue
        row = _compared(both, outcomes, block, confidence)
        rows.append({"factor": factor, "first": str(first), "second": str(second), **row})
    columns = ["factor", "first", "second", "mean", "low", "high", "p", "disagree", "images",
               "cells", "seeds"]  # fmt: skip
    return judged(pd.DataFrame(rows, columns=columns), done[block].nunique() - 1, confidence)


def evaluated(trials: pd.DataFrame, evaluations: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the rows of ``evaluations`` that a metric of the final networks is made of."""
    attack = metric.partition("_")[2]
    mine = evaluations[evaluations["network"].isin(trials["finetuned_network"])]
    named = mine["attack"].str.replace(r"[^A-Za-z0-9]+", "_", regex=True)
    return mine[mine["norm"].notna() if attack == "worst" else named == attack]


def images_of(trials: pd.DataFrame, judged: pd.DataFrame) -> int | None:
    """Return on how many images trials were judged, of all data sets; None where none is known."""
    if judged.empty:
        return None
    counts = judged.drop_duplicates("network").set_index("network")["count"]
    known = trials["finetuned_network"].map(counts)
    alone = pd.Series("", index=trials.index)
    return int(known.groupby(trials.get("dataset", alone)).max().sum())


def network_outcomes(done: pd.DataFrame, evaluations: pd.DataFrame, metric: str) -> Outcomes:
    """Return each final network's outcomes by image under an attack; ``worst`` is under all.

    Raises:
        AnalysisError: where they are missing, or do not add up to the trials' accuracies.
    """
    attack = metric.partition("_")[2]
    networks = pd.Index(done["finetuned_network"].unique())
    mine = evaluated(done, evaluations, metric)
    if mine["count"].nunique() > 1:
        raise AnalysisError(f"networks were evaluated on different numbers of images by {attack}")
    lost = len(networks) - mine["network"].nunique()
    if lost or mine.empty:
        raise AnalysisError(f"{lost} networks have no outcomes of {attack} by image")
    images = int(mine["count"].iloc[0])
    packed = np.full((len(networks), -(-images // 8)), 255, dtype=np.uint8)
    for _, of_one in mine.groupby("attack"):
        rows = networks.get_indexer(pd.Index(of_one["network"]))
        bits = np.frombuffer(b"".join(of_one["outcomes"]), dtype=np.uint8)
        packed[rows] &= bits.reshape(len(rows), -1)
    told = done.drop_duplicates("finetuned_network").set_index("finetuned_network")[metric]
    accuracy = np.bitwise_count(packed).sum(axis=1) / images
    if np.abs(accuracy - told.reindex(networks).to_numpy(dtype=float)).max() > 1e-9:
        raise AnalysisError(f"the outcomes by image do not add up to {metric}")
    return Outcomes(networks, packed, images)


def _compared(
    both: pd.DataFrame, outcomes: Outcomes, block: str, confidence: float
) -> dict[str, float]:
    from scipy.special import stdtr

    gaps, apart = [], []
    for _, pairs in both.groupby(level=block):
        first, second = (pairs[name].to_numpy(dtype=np.intp) for name in ("first", "second"))
        gaps.append((outcomes.right(first) - outcomes.right(second)) / len(pairs))
        differ = np.bitwise_count(outcomes.packed[first] ^ outcomes.packed[second])
        apart.append(differ.sum() / len(pairs) / outcomes.images)
    gap = 100 * np.stack(gaps)  # [seeds, images]
    error = _two_way_error(gap)
    seeds, mean = len(gap), float(gap.mean())
    reach = t_quantile(confidence, seeds - 1) * error if seeds > 1 else np.nan
    p = 2 * float(stdtr(seeds - 1, -abs(mean) / error)) if error > 0 else float(mean == 0)
    return {
        "mean": mean,
        "low": mean - reach,
        "high": mean + reach,
        "p": p,
        "disagree": float(np.mean(apart)),
        "images": gap.shape[1],
        "cells": len(both) // seeds,
        "seeds": seeds,
    }


def _two_way_error(gap: Array) -> float:
    """Return the standard error of the mean of [seeds, images], clustered by both."""
    seeds, images = gap.shape
    by_seed = gap.mean(axis=1).var(ddof=1) / seeds if seeds > 1 else 0.0
    by_image = gap.mean(axis=0).var(ddof=1) / images
    alone = gap.var(ddof=1) / gap.size
    return float(np.sqrt(max(by_seed + by_image - alone, by_seed, by_image)))
