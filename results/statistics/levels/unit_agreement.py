"""Which units do levels keep? How far two of them agree, module by module."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from results.errors import AnalysisError
from results.statistics.design.intervals import mean_estimate
from results.statistics.design.units import UNITS, united
from results.tables.schema import FACTORS

COLUMNS = ["architecture", "granularity", "sparsity", "first", "second", "module", "position",
           "iou", "low", "high", "by_chance", "seeds"]  # fmt: skip


def unit_agreement(
    trials: pd.DataFrame, modules: pd.DataFrame, of: str = "criterion", confidence: float = 0.95
) -> pd.DataFrame:
    """Return how far the units agree that two levels keep, of the same dense network.

    The intersection of the kept units over their union; ``by_chance`` is what as many units drawn
    at random would have on average. Of layers with more than 1,024 weights, 1,024 tell of all.
    Units of different dense networks have nothing to do with one another, so pairs are of one
    dense network, and seeds are repetitions. Two seeds are compared where they share it, as where
    it comes from one checkpoint.

    Args:
        trials: rows of ``trials``.
        modules: rows of ``modules`` with ``kept``: the units kept, as bitmaps.
        of: the factor whose levels are compared, or ``seed``.
        confidence: of the intervals over seeds.

    Returns:
        A row a pair of levels, module, architecture, granularity and sparsity, means over all other
        factors: ``iou`` with Student's t interval ``low`` to ``high``, ``by_chance``, ``seeds``.
        Between seeds there are no repetitions, and so no interval; ``seeds`` counts both.

    Raises:
        AnalysisError: where no row says which units were kept, or no seeds share a dense network.
    """
    if "kept" not in modules or modules["kept"].isna().all():
        raise AnalysisError("no row of modules says which units were kept (column kept)")
    others = [name for name in FACTORS if name in trials and name not in (of, "finetuning")]
    cells = trials[trials["status"] == "done"].drop_duplicates("pruned_network")
    origin = cells["dense_network"]
    if "checkpoint" in cells:
        origin = cells["checkpoint"].astype(object).fillna(origin)
    cells = cells.assign(origin=origin)
    if of == "seed" and (cells.groupby("origin")["seed"].nunique() < 2).all():
        raise AnalysisError(
            "every seed has a dense network of its own, and units of different networks have no "
            "counterparts: seeds can be compared where dense has one checkpoint for all"
        )
    cells = cells[[*others, *{of, "seed"}, "origin", "pruned_network"]]
    joined = cells.merge(modules.dropna(subset="kept"), left_on="pruned_network",
                         right_on="network")  # fmt: skip
    bits = [np.unpackbits(np.frombuffer(kept, np.uint8), count=min(8 * len(kept), int(units))) == 1
            for kept, units in joined[["kept", "width_before"]].to_numpy()]  # fmt: skip
    by = [] if of == "seed" else ["seed"]
    within = [*others, *by, "origin", "module", "position"]
    rows = []
    for levels, group in joined.assign(_row=range(len(joined))).groupby(within, sort=True):
        named = dict(zip(within, levels, strict=True))
        kept = {level: bits[row] for level, row in zip(group[of], group["_row"], strict=True)}
        rows += [
            {**named, "first": one, "second": two, "iou": _iou(kept[one], kept[two]),
             "by_chance": _by_chance(kept[one], kept[two])}
            for one, two in itertools.combinations(sorted(kept), 2)
        ]  # fmt: skip
    shown = [name for name in COLUMNS[:7] if name in within or name in ("first", "second")]
    table = pd.DataFrame(rows, columns=[*within, "first", "second", "iou", "by_chance"])
    means = table.groupby([*shown, *(by or ["origin"])], sort=True)[["iou", "by_chance"]].mean()
    found = []
    for levels, by_seed in means.groupby(level=shown, sort=True):
        agreed = mean_estimate(by_seed["iou"].to_numpy(dtype=float), confidence)
        seeds = len(by_seed) if by else 2
        found.append((*levels, *agreed, by_seed["by_chance"].mean(), seeds))
    return united(pd.DataFrame(found, columns=[*shown, *COLUMNS[7:]]), UNITS["iou"])


def _iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / max(1, (first | second).sum()))


def _by_chance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the intersection over the union as it would be of as many units drawn at random."""
    both = first.sum() * second.sum() / len(first)
    return float(both / max(1e-9, first.sum() + second.sum() - both))
