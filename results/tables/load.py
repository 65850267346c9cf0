"""Loading: the tables of a storage root, or of one sweep in it, as data frames."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from results.errors import StorageError
from results.tables.storage import Storage
from results.tables.store import Tables


def load(root: str = "runs", sweep: str | None = None) -> Loaded:
    """Open the tables under a storage root; with ``sweep``, the rows that its plan names.

    Args:
        root: a folder, or any URI that fsspec opens, such as ``s3://bucket/runs``.
        sweep: the name that its file gives it; all trials of the root where None.

    Raises:
        StorageError: There is no such root, or no such sweep in it.
    """
    storage = Storage(root)
    storage.check()
    if not storage.exists("tables"):
        raise StorageError(f"no tables in {root!r}: run a sweep with --storage {root} first")
    if sweep is not None and not storage.exists("sweeps", sweep, "plan.parquet"):
        known = ", ".join(storage.names("sweeps")) or "none"
        raise StorageError(f"no sweep {sweep!r} in {root!r}; there are: {known}")
    return Loaded(storage, sweep)


@dataclass(frozen=True)
class Loaded:
    """The tables, each read when it is first asked for."""

    storage: Storage
    sweep: str | None

    @cached_property
    def plan(self) -> pd.DataFrame | None:
        """The sweep's trials, with their factor levels as the sweep names them."""
        if self.sweep is None:
            return None
        data = self.storage.read("sweeps", self.sweep, "plan.parquet")
        if data is None:
            raise StorageError(f"the plan of sweep {self.sweep!r} is gone")
        return pd.read_parquet(io.BytesIO(data))

    @cached_property
    def trials(self) -> pd.DataFrame:
        """The rows of ``trials``; a level has the name that this sweep gives it."""
        rows = Tables(self.storage).read("trials")
        if self.plan is None:
            return rows
        labels = self.plan.set_index("trial_id")
        rows = rows[rows["trial_id"].isin(labels.index)].reset_index(drop=True)
        for column in labels.columns:
            rows[column] = rows["trial_id"].map(labels[column])
        return rows

    @cached_property
    def replication(self) -> dict[str, Any]:
        """By which rule seeds were added, and what it saw; empty where none were."""
        if self.sweep is None:
            return {}
        data = self.storage.read("sweeps", self.sweep, "replication.json")
        record: dict[str, Any] = json.loads(data) if data else {}
        return record

    @property
    def missing(self) -> int:
        """How many planned trials have no row yet."""
        return 0 if self.plan is None else len(self.plan) - len(self.trials)

    def read(self, table: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return some columns of a table, all rows of the storage root; the others are not read."""
        return Tables(self.storage).read(table, columns)

    @cached_property
    def evaluations(self) -> pd.DataFrame:
        """All rows of ``evaluations``."""
        return Tables(self.storage).read("evaluations")

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """All rows of ``epochs``."""
        return Tables(self.storage).read("epochs")

    @cached_property
    def checks(self) -> pd.DataFrame:
        """All rows of ``checks``."""
        return Tables(self.storage).read("checks")

    @cached_property
    def modules(self) -> pd.DataFrame:
        """All rows of ``modules``."""
        return Tables(self.storage).read("modules")

    @cached_property
    def jobs(self) -> pd.DataFrame:
        """All rows of ``jobs``."""
        return Tables(self.storage).read("jobs")
