"""Evaluations that a driver knows of, so that its workers need not look for them in storage."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.planning.plan import Job
from prune_core.specs.stages import Trial
from results.tables.log import Rows
from results.tables.store import Tables

MOST = 20_000
"""Rows that are remembered whole: of those that were asked for last."""


class Evaluated:
    """The evaluations of one storage root, as one driver has heard of them."""

    def __init__(self, tables: Tables):
        self._tables = tables
        self._keys: set[str] | None = None
        self._rows: OrderedDict[str, Mapping[str, Any]] = OrderedDict()

    def add(self, entries: Iterable[Rows]) -> None:
        """Take in what jobs of this driver have committed."""
        for rows in entries:
            for row in rows.get("evaluations", ()):
                self._remember(row)

    def of(self, job: Job) -> tuple[Mapping[str, Any], ...] | None:
        """Return the rows that a job reads: its own, as far as there are, and its parents'.

        None where one of a parent's is not known, since another driver evaluated it: the worker
        looks for them.
        """
        trial, own = job.stage, [evaluation.key for evaluation in job.evaluations]
        parents: list[str] = []
        if isinstance(trial, Trial):
            for stage in (trial.dense, trial.pruned):
                parents += [evaluation.key for evaluation in trial.evaluations(stage)]
        if self._keys is None:
            self._keys = self._tables.keys("evaluations") | self._rows.keys()
        if not self._keys.issuperset(parents):
            return None
        there = [key for key in (*parents, *own) if key in self._keys]
        if missing := [key for key in there if key not in self._rows]:
            for rows in self._tables.find_all("evaluations", missing).values():
                self._remember(rows[0])
        if not self._rows.keys() >= set(there):
            return None
        for key in there:
            self._rows.move_to_end(key)
        return tuple(self._rows[key] for key in there)

    def _remember(self, row: Mapping[str, Any]) -> None:
        self._rows[row["key"]] = row
        if self._keys is not None:
            self._keys.add(row["key"])
        if len(self._rows) > MOST:
            self._rows.popitem(last=False)
