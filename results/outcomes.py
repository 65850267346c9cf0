"""Comparisons image by image: the evaluations' outcomes, the same test images for every network."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.design import AnalysisError, Array
from results.intervals import t_quantile
from results.pairwise import judged
from results.schema import FACTORS

Bits = NDArray[np.uint8]


def compare_outcomes(
    trials: pd.DataFrame,
    evaluations: pd.DataFrame,
    metric: str,
    factor: str = "criterion",
    block: str = "seed",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Compare every two levels of a factor on the same images, paired by cell and seed.

    Both seeds and images vary: the standard error is clustered both ways (Cameron, Gelbach and
    Miller, 2011), and p-values have seeds - 1 degrees of freedom and Holm's correction. A row a
    pair: ``first``, ``second``, ``mean`` in accuracy points with ``low`` and ``high``, ``p``,
    ``finding``, ``disagree`` (share of image x seed x cell on which the two differ in outcome),
    ``images``, ``cells``, ``seeds``.

    Raises `AnalysisError` where outcomes are missing or there is one level or seed alone.
    """
    done = trials[(trials["status"] == "done") & trials[metric].notna()]
    if done[factor].nunique() < 2 or done[block].nunique() < 2:
        raise AnalysisError(f"{factor} and {block} need two levels each to be compared by image")
    bits = network_outcomes(done, evaluations, metric)
    context = [name for name in FACTORS if name in done and name != factor]
    rows = []
    for first, second in itertools.combinations(sorted(done[factor].unique()), 2):
        keyed = [
            done[done[factor] == level].set_index([*context, block])["finetuned_network"]
            for level in (first, second)
        ]
        both = pd.concat(keyed, axis=1, keys=("first", "second"), join="inner").dropna()
        if both.empty:
            continue
        row = _compared(both, bits, block, confidence)
        rows.append({"factor": factor, "first": str(first), "second": str(second), **row})
    columns = ["factor", "first", "second", "mean", "low", "high", "p", "disagree", "images",
               "cells", "seeds"]  # fmt: skip
    return judged(pd.DataFrame(rows, columns=columns))


def network_outcomes(
    done: pd.DataFrame, evaluations: pd.DataFrame, metric: str
) -> Mapping[str, Bits]:
    """Return each final network's outcomes, right 1 and wrong 0 by image; ``worst`` is of all."""
    attack = metric.partition("_")[2]
    mine = evaluations[evaluations["network"].isin(done["finetuned_network"])]
    named = mine["attack"].str.replace(r"[^A-Za-z0-9]+", "_", regex=True)
    mine = mine[mine["norm"].notna() if attack == "worst" else named == attack]
    found: dict[str, Bits] = {}
    for network, packed, count in zip(
        mine["network"], mine["outcomes"], mine["count"], strict=True
    ):
        bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=int(count))
        found[network] = bits & found[network] if network in found else bits
    if lost := set(done["finetuned_network"]) - set(found):
        raise AnalysisError(f"{len(lost)} networks have no outcomes of {attack} by image")
    told = done.set_index("finetuned_network")[metric]
    if any(abs(bits.mean() - told[network]) > 1e-9 for network, bits in found.items()):
        raise AnalysisError(f"the outcomes by image do not add up to {metric}")
    if len({len(bits) for bits in found.values()}) > 1:
        raise AnalysisError(f"networks were evaluated on different numbers of images by {attack}")
    return found


def _compared(
    both: pd.DataFrame, bits: Mapping[str, Bits], block: str, confidence: float
) -> dict[str, float]:
    from scipy.special import stdtr

    gaps, apart = [], []
    for _, pairs in both.groupby(level=block):
        change = [
            bits[a].astype(np.int8) - bits[b].astype(np.int8)
            for a, b in zip(pairs["first"], pairs["second"], strict=True)
        ]
        gaps.append(np.mean(change, axis=0))
        apart.append(np.mean(np.abs(change)))
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
