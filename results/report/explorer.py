"""What the page's explorer draws from: every cell at every seed, packed small."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd

from results.report.drill import drill_data, tenths
from results.statistics.design.design import varying_factors
from results.statistics.design.intervals import t_quantile
from results.statistics.design.words import metric_label

NETWORKS = ("finetuned_network", "pruned_network")
MOST_VALUES = 450_000
"""Numbers that are embedded: with more, the page would be over 5 MB."""


def explorer_data(
    trials: pd.DataFrame,
    metrics: Sequence[str],
    epochs: pd.DataFrame | None = None,
    modules: pd.DataFrame | None = None,
) -> str | None:
    """Return the explorer's data as JSON for a script element; None where it would be too large.

    ``factors``: name to levels; ``cells``: level numbers, cell after cell; ``values``: metric to
    accuracy in tenths of points, cell after cell and seed after seed, null where there is none;
    ``drill``: what a point is made of, where epochs and modules are given and few enough.
    """
    done = trials[trials["status"] == "done"]
    factors = varying_factors(done)
    if not factors:
        return None
    keys = [*factors, "seed"]
    cells = done.drop_duplicates(factors)[factors].sort_values(factors, ignore_index=True)
    seeds = sorted(done["seed"].unique())
    shown = metrics[: max(0, MOST_VALUES // (len(cells) * len(seeds)))]
    if not shown:
        return None
    whole = cells.merge(pd.DataFrame({"seed": seeds}), how="cross")
    networks = [name for name in NETWORKS if name in done]
    one_each = done.drop_duplicates(keys)[[*keys, *shown, *networks]]
    whole = whole.merge(one_each, on=keys, how="left")
    levels = {name: sorted(cells[name].unique()) for name in factors}
    codes = np.stack([pd.Index(levels[name]).get_indexer(pd.Index(cells[name]))
                      for name in factors], axis=1)  # fmt: skip
    data = {
        "factors": {name: [str(level) for level in of] for name, of in levels.items()},
        "numeric": [name for name in factors if pd.api.types.is_numeric_dtype(cells[name])],
        "metrics": {name: metric_label(name) for name in shown},
        "seeds": len(seeds),
        "t": [0.0, 0.0, *(round(t_quantile(0.95, n), 4) for n in range(1, len(seeds)))],
        "cells": codes.ravel().tolist(),
        "values": {name: tenths(whole[name]) for name in shown},
    }
    if epochs is not None and modules is not None and len(networks) == len(NETWORKS):
        drill = drill_data(whole, epochs, modules)
        data |= {"drill": drill, "seedNames": [str(seed) for seed in seeds]} if drill else {}
    # "</" would end the script element early.
    return json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
