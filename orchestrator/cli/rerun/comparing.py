"""A trial computed anew beside its rows: whether it is the same to the bit, and how far off."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from results.claims.certificate import EXACT
from results.publish.provenance import PROVENANCE
from results.tables.schema import KEY, is_metric, metric_name

MEASURED = frozenset({
    *PROVENANCE, "device", "node", "finished", "seconds", "images_per_second", "finetune_seconds",
    "evaluate_seconds", "latency_1", "latency_128", "speedup_1", "speedup_128",
})  # fmt: skip
"""Columns of times and places, which differ between any two runs."""
LEAST = 0.01
"""An accuracy that is off by less, one point, is within tolerance."""
SPREADS = 3.0
"""So many standard deviations of the same cell over seeds are, too."""
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Compared:
    """What a trial computed anew says beside its rows in the bundle.

    Attributes:
        rows: How many rows were compared.
        apart: Every value that is another, in words.
        beyond: Accuracies that are further off than is allowed, in words.
        furthest: By how much the furthest accuracy is off, as a share.
    """

    rows: int
    apart: list[str]
    beyond: list[str]
    furthest: float


def compared(
    said: Mapping[str, Rows], found: Mapping[str, Rows], allowed: Mapping[str, float]
) -> Compared:
    """Compare rows, by table: those of the bundle, and those computed anew.

    Args:
        said: Of the bundle.
        found: Computed anew.
        allowed: By metric, how far off an accuracy may be; `LEAST` where it is not named.
    """
    apart: list[str] = []
    beyond: list[str] = []
    furthest, count = 0.0, 0
    for table, rows in said.items():
        here = {_name(table, row): row for row in found[table]}
        there = {_name(table, row): row for row in rows}
        count += len(there)
        for name in there.keys() | here.keys():
            if name not in here or name not in there:
                only = "bundle" if name in there else "run"
                apart.append(f"{table} {' '.join(name)}: only in the {only}")
                continue
            apart += _differing(table, name, there[name], here[name])
            for metric, off in _off(table, there[name], here[name]):
                furthest = max(furthest, off)
                if off > allowed.get(metric, LEAST):
                    beyond.append(f"{metric} is off by {100 * off:.2f} points")
    return Compared(count, sorted(apart), sorted(set(beyond)), furthest)


def tolerances(
    trials: pd.DataFrame, row: Mapping[str, Any], factors: Sequence[str]
) -> dict[str, float]:
    """Return how far off each metric of a trial may be: by its cell's spread over seeds.

    Args:
        trials: All rows of ``trials`` of the bundle.
        row: The trial's.
        factors: The columns that make a cell.
    """
    alike = trials[(trials[list(factors)] == pd.Series(row)[list(factors)]).all(axis=1)]
    spreads = {name: alike[name].std() for name in alike.columns if is_metric(name)}
    return {name: max(LEAST, SPREADS * spread) for name, spread in spreads.items() if spread > 0}


def disagreeing(trials: pd.DataFrame, evaluations: pd.DataFrame) -> Iterator[str]:
    """Go through accuracies that do not follow from the images that were right.

    Args:
        trials: Rows of ``trials``.
        evaluations: Rows of ``evaluations``.
    """
    shares: dict[tuple[str, str], float] = {}
    for row in evaluations.to_dict("records"):
        bits = np.unpackbits(np.frombuffer(row["outcomes"], np.uint8), count=row["count"])
        share = shares[row["network"], metric_name("", row["attack"])] = float(bits.mean())
        if not math.isclose(share, row["accuracy"], abs_tol=EXACT):
            yield f"evaluations {row['key']}: accuracy {row['accuracy']}, by its images {share}"
    for row in trials[trials["status"] == "done"].to_dict("records"):
        for name in filter(is_metric, map(str, row)):
            stage, _, attack = name.partition("_")
            share = shares.get((row[f"{stage}_network"], f"_{attack}"), row[name])
            if not math.isnan(row[name]) and not math.isclose(share, row[name], abs_tol=EXACT):
                yield f"trials {row['trial_id']}: {name} {row[name]}, by its images {share}"


def _name(table: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[column]) for column in KEY[table])


def _differing(
    table: str, name: tuple[str, ...], said: Mapping[str, Any], found: Mapping[str, Any]
) -> Iterator[str]:
    for column in sorted({*said, *found} - MEASURED):
        one, other = said.get(column), found.get(column)
        if _same(one, other):
            continue
        where = f"{table} {' '.join(name)}, {column}"
        if isinstance(one, bytes) and isinstance(other, bytes):
            yield f"{where}: {_bits(one, other)} bits are others"
        else:
            yield f"{where}: {_short(one)} in the bundle, {_short(other)} computed"


def _same(one: Any, other: Any) -> bool:
    both = isinstance(one, float) and isinstance(other, float)
    return bool(one == other or (both and math.isnan(one) and math.isnan(other)))


def _off(
    table: str, said: Mapping[str, Any], found: Mapping[str, Any]
) -> Iterator[tuple[str, float]]:
    """Yield how far each accuracy of a trial is off."""
    if table != "trials":
        return
    for name in (name for name in said if is_metric(name) and said[name] is not None):
        value = found.get(name)
        yield name, math.inf if value is None else abs(value - said[name])


def _bits(one: bytes, other: bytes) -> int:
    if len(one) != len(other):
        return 8 * max(len(one), len(other))
    pair = np.frombuffer(one, np.uint8) ^ np.frombuffer(other, np.uint8)
    return int(np.unpackbits(pair).sum())


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
