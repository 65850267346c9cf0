"""What a point of the explorer is made of: its trials' learning curves and networks' widths."""

from __future__ import annotations

from typing import Any

import pandas as pd

MOST_NUMBERS = 300_000
"""That are embedded in a page: with more, its points do not open."""


def drill_data(
    slots: pd.DataFrame, epochs: pd.DataFrame, modules: pd.DataFrame
) -> dict[str, Any] | None:
    """Return curves and widths by trial; None where they are too many for a page.

    Args:
        slots: ``finetuned_network`` and ``pruned_network`` of each cell at each seed, in the order
            of the explorer's numbers; missing where there is no trial.
        epochs: rows of ``epochs``.
        modules: rows of ``modules``.

    Returns:
        ``curves``: of each training, the validation accuracy in tenths of points, epoch after
        epoch; ``curve``: which is a slot's, null where it has none.
        ``kinds``: names and widths of the modules of dense networks; ``nets``: of each pruned
        network, its kind and the widths that are left; ``net``: which is a slot's.
    """
    trained = epochs[epochs["network"].isin(slots["finetuned_network"])]
    pruned = modules[modules["network"].isin(slots["pruned_network"])]
    if 2 * len(slots) + len(trained) + len(pruned) > MOST_NUMBERS:
        return None
    curves = {
        str(network): tenths(rows["validation_accuracy"])
        for network, rows in trained.sort_values("epoch").groupby("network")
    }
    kinds: dict[tuple[tuple[str, int], ...], int] = {}
    nets: dict[str, list[int]] = {}
    for network, rows in pruned.sort_values("position").groupby("network"):
        shape = tuple(zip(rows["module"], map(int, rows["width_before"]), strict=True))
        kind = kinds.setdefault(shape, len(kinds))
        nets[str(network)] = [kind, *map(int, rows["width_after"])]
    return {
        "curves": list(curves.values()),
        "curve": _numbered(slots["finetuned_network"], list(curves)),
        "kinds": [[list(column) for column in zip(*shape, strict=True)] for shape in kinds],
        "nets": list(nets.values()),
        "net": _numbered(slots["pruned_network"], list(nets)),
    }


def tenths(values: pd.Series[Any]) -> list[int | None]:
    """Return shares in tenths of points, whole; None where there is none."""
    return [None if pd.isna(value) else round(1000 * value) for value in values.astype(float)]


def _numbered(networks: pd.Series[Any], known: list[str]) -> list[int | None]:
    places = {network: place for place, network in enumerate(known)}
    return [places.get(network) for network in networks]
