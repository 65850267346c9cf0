"""MRS, ratio and width of every module: what each allocation made of the networks."""

from __future__ import annotations

import pandas as pd

from results.statistics.design.intervals import mean_estimate
from results.tables.schema import FACTORS

BY = ["architecture", "position", "module", "allocation", "sparsity"]
MEASURED = ("ratio", "width_after")


def module_means(trials: pd.DataFrame, modules: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds and criteria, with intervals over seeds, a row a module.

    Modules are other things under each granularity and in networks of another data set, so these
    are told apart with the architecture.

    Returns:
        For every architecture, allocation and sparsity: ``mrs``, ``ratio`` (share of the module's
        units removed), ``width_after`` (units kept), each with ``_low`` and ``_high``, and
        ``width_before``.
    """
    wanted = [name for name in (*FACTORS, "seed") if name not in ("dense", "finetuning")]
    done = trials[trials["status"] == "done"]
    pruned = done.drop_duplicates(wanted)[[*wanted, "pruned_network"]]
    joined = modules.merge(pruned, left_on="network", right_on="pruned_network")
    for name in ("granularity", "dataset"):
        if joined[name].nunique() > 1:
            joined["architecture"] += ", " + joined[name]
    # Estimates of the MRS, and other sensitivities, are not to be averaged with it.
    measured = joined.dropna(subset="mrs")
    measured = measured[measured["allocation"] == min(measured["allocation"], default="mrs")]
    mrs = _over_seeds(measured, ["architecture", "position"], "mrs")
    rows = [
        {
            **(named := dict(zip(BY, levels, strict=True))),
            **mrs.get((named["architecture"], named["position"]), {}),
            **_interval("ratio", group),
            "width_before": group["width_before"].mean(),
            **_interval("width_after", group),
        }
        for levels, group in joined.groupby(BY, sort=True)
    ]
    columns = [*_ends("mrs"), *_ends("ratio"), "width_before", *_ends("width_after")]
    return pd.DataFrame(rows, columns=[*BY, *columns])


def _over_seeds(
    table: pd.DataFrame, by: list[str], column: str
) -> dict[tuple[object, ...], dict[str, float]]:
    return {levels: _interval(column, group) for levels, group in table.groupby(by) if len(group)}


def _interval(column: str, group: pd.DataFrame) -> dict[str, float]:
    seeds = group.groupby("seed")[column].mean().to_numpy(dtype=float)
    return dict(zip(_ends(column), mean_estimate(seeds), strict=True))


def _ends(column: str) -> tuple[str, str, str]:
    return column, f"{column}_low", f"{column}_high"
