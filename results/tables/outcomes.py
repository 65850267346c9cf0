"""Outcomes image by image: the bitmaps of ``evaluations``, unpacked."""

from __future__ import annotations

import numpy as np
import pandas as pd

from results.errors import AnalysisError, allowed
from results.tables.load import Loaded
from results.tables.schema import STAGES

COLUMNS = ["network", "stage", "attack", "count", "outcomes"]


def outcomes(tables: Loaded, stage: str = "finetuned", attack: str | None = None) -> pd.DataFrame:
    """Return for every trial, attack and test image whether it was classified rightly.

    >>> import results
    >>> tables = results.load("runs", sweep="demo")      # doctest: +SKIP
    >>> results.outcomes(tables, attack="pgd-20")      # doctest: +SKIP

    Args:
        tables: what `results.load` gives.
        stage: of the network: ``dense``, ``pruned`` or ``finetuned``.
        attack: one of those evaluated, ``clean`` among them; all where None.

    Returns:
        ``trial_id``, ``attack``, ``image`` (place in the test split, from 0) and ``correct``.

    Raises:
        AnalysisError: There is no such stage or attack.
    """
    joined = evaluated(tables, stage, attack, COLUMNS)
    counts = joined["count"].to_numpy()
    bits = [
        np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=count)
        for packed, count in zip(joined["outcomes"], counts, strict=True)
    ]
    return pd.DataFrame(
        {
            "trial_id": np.repeat(joined["trial_id"].to_numpy(), counts),
            "attack": np.repeat(joined["attack"].to_numpy(), counts),
            "image": np.concatenate([np.arange(count) for count in counts] or [np.arange(0)]),
            "correct": np.concatenate(bits or [np.zeros(0, dtype=np.uint8)]).astype(bool),
        }
    )


def evaluated(tables: Loaded, stage: str, attack: str | None, columns: list[str]) -> pd.DataFrame:
    """Return columns of every trial's evaluations at a stage, of one attack or of all.

    Raises:
        AnalysisError: There is no such stage or attack.
    """
    if stage not in STAGES:
        raise AnalysisError(f"no stage {stage!r}; {allowed(stage, STAGES)}")
    rows = tables.read("evaluations", columns)
    known = sorted(rows["attack"].unique())
    if attack is not None and attack not in known:
        raise AnalysisError(f"no attack {attack!r}; {allowed(attack, known)}")
    if attack is not None:
        rows = rows[rows["attack"] == attack]
    networks = tables.read("trials", ["trial_id", f"{stage}_network"])
    return networks.merge(rows, left_on=f"{stage}_network", right_on="network")
