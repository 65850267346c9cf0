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


class Subject:
    """A network that is made once it is asked for, and the twin that is attacked in its place.

    Args:
        make: Returns the network.
    """

    def __init__(self, make: Callable[[], nn.Module]):
        self._make = make

    @functools.cached_property
    def network(self) -> nn.Module:
        """The network."""
        return self._make()

    @functools.cached_property
    def twin(self) -> Twin:
        """Its twin."""
        return Twin(self.network)


def evaluations(
    wanted: Sequence[Evaluation],
    subject: Subject,
    known: Known,
    materializer: Materializer,
) -> list[rows.Row]:
    """Return the evaluations' rows; the network is made only where one is missing.

    Args:
        wanted: The evaluations.
        subject: The network.
        known: What the driver knows of them.
        materializer: Holds images and tables.
    """
    if known is None:
        found = materializer.tables.find_all("evaluations", [each.key for each in wanted])
        known = tuple(row for rows_of_one in found.values() for row in rows_of_one)
    there = {row["key"]: dict(row) for row in known}
    return [there.get(each.key) or _evaluate(each, subject, materializer) for each in wanted]


def _evaluate(evaluation: Evaluation, subject: Subject, materializer: Materializer) -> rows.Row:
    materializer.telling.say(doing=evaluation.attack)
    data, spec = materializer.data(evaluation), dense_of(evaluation).dataset
    images = test_images(data, spec, evaluation.attack)
    seen = evaluate(subject.network, images, evaluation, subject.twin)
    row = rows.evaluation_row(evaluation, seen.correct, seen.accuracy, seen.seconds, seen.distances)
    materializer.tables.write("evaluations", [row])
    return row
