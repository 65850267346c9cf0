"""Distances image by image, of attacks that look for the nearest misclassified image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.errors import AnalysisError
from results.tables.load import Loaded
from results.tables.outcomes import evaluated

COLUMNS = ["network", "stage", "attack", "count", "distances"]
RADII = 101
"""Of a curve, where none are given: from 0 to the largest distance that is finite."""


def unpacked(distances: bytes) -> NDArray[np.float32]:
    """Return the distances of a row of ``evaluations``, one an image."""
    return np.frombuffer(distances, "<f4")


def security_curves(
    tables: Loaded,
    stage: str = "finetuned",
    attack: str | None = None,
    radii: Sequence[float] | None = None,
) -> pd.DataFrame:
    """Return every network's accuracy as a function of the radius, by distances to each image.

    They are of attacks that look for the nearest misclassified image, `fmn-100` or `ho-fmn-32`;
    every radius comes from one of their searches.

    >>> import results
    >>> tables = results.load("runs", sweep="demo")      # doctest: +SKIP
    >>> results.security_curves(tables, attack="fmn-100")      # doctest: +SKIP

    Args:
        tables: what `results.load` gives.
        stage: of the network: ``dense``, ``pruned`` or ``finetuned``.
        attack: one that has distances; all of these where None.
        radii: in the threat's norm; where None, 101 from 0 to the largest that is finite.

    Returns:
        ``trial_id``, ``attack``, ``radius`` and ``accuracy``: the share of test images whose
        nearest misclassified image is farther than the radius.

    Raises:
        AnalysisError: There is no such stage or attack, or no attack has distances.
    """
    rows = evaluated(tables, stage, attack, COLUMNS).dropna(subset=["distances"])
    if rows.empty:
        raise AnalysisError(
            f"no distances of {stage} networks: evaluate fmn-K or ho-fmn-K, of least distance"
        )
    found = [np.sort(unpacked(packed)) for packed in rows["distances"]]
    if radii is None:
        largest = max((float(each[np.isfinite(each)].max(initial=0)) for each in found), default=0)
        radii = np.linspace(0, largest, RADII).tolist()
    curves = [1 - np.searchsorted(each, radii, side="right") / len(each) for each in found]
    return pd.DataFrame(
        {
            "trial_id": np.repeat(rows["trial_id"].to_numpy(), len(radii)),
            "attack": np.repeat(rows["attack"].to_numpy(), len(radii)),
            "radius": np.tile(np.asarray(radii, float), len(rows)),
            "accuracy": np.concatenate(curves),
        }
    )
