"""Evaluations of a job: their rows, from the tables where they are there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from orchestrator.state import rows
from orchestrator.worker.materialize import Materializer
from prune_core.attacks.evaluation import evaluate
from prune_core.data.corrupted import test_images
from prune_core.models.folding import Twin
from prune_core.specs.stages import Evaluation, dense_of

Known = tuple[Mapping[str, Any], ...] | None
"""Rows of evaluations that the driver knows: all that there are; None where it cannot tell."""


def evaluations(
    wanted: Sequence[Evaluation],
    network: Callable[[], nn.Module],
    known: Known,
    materializer: Materializer,
) -> list[rows.Row]:
    """Return the evaluations' rows; the network is made only where one is missing.

    Args:
        wanted: The evaluations.
        network: Returns the network.
        known: What the driver knows of them.
        materializer: Holds images and tables.
    """
    if known is None:
        found = materializer.tables.find_all("evaluations", [each.key for each in wanted])
        known = tuple(row for rows_of_one in found.values() for row in rows_of_one)
    there = {row["key"]: dict(row) for row in known}
    twin = functools.cache(lambda: Twin(network()))
    return [
        there.get(each.key) or _evaluate(each, network(), twin(), materializer) for each in wanted
    ]


def _evaluate(
    evaluation: Evaluation, network: nn.Module, twin: Twin, materializer: Materializer
) -> rows.Row:
    materializer.telling.say(doing=evaluation.attack)
    data, spec = materializer.data(evaluation), dense_of(evaluation).dataset
    seen = evaluate(network, test_images(data, spec, evaluation.attack), evaluation, twin)
    row = rows.evaluation_row(evaluation, seen.correct, seen.accuracy, seen.seconds, seen.distances)
    materializer.tables.write("evaluations", [row])
    return row
