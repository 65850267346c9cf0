"""Loading: the tables of a storage root, or of one sweep in it, as data frames."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from results.errors import StorageError, allowed
from results.tables.schema import KEY, STAGES, TABLES, is_metric
from results.tables.storage import Storage
from results.tables.store import Tables

STAGES_FILE = "stages.parquet"
"""Beside the plan: the keys of all stages that its trials go through."""
BY = {"evaluations": "network", "checks": "network"}
"""The column with a stage's key, where it is not the first of the table's key."""


def load(root: str = "runs", sweep: str | None = None) -> Loaded:
    """Open the tables under a storage root; with ``sweep``, the rows that its plan names.

    Args:
        root: a folder, or any URI that fsspec opens, such as ``s3://bucket/runs``.
        sweep: the name that its file gives it; all trials of the root where None.

    Raises:
        StorageError: There is no such root, or no such sweep in it.
    """
    storage = Storage(root)
    if sweep is not None and storage.has("sweeps", sweep, "plan.parquet"):
        return Loaded(storage, sweep)
    storage.check()
    if not (storage.exists("tables") or storage.exists("log")):
        raise StorageError(f"no tables in {root!r}: run a sweep with --storage {root} first")
    if sweep is not None:
        names = storage.names("sweeps")
        known = allowed(sweep, [n for n in names if storage.has("sweeps", n, "plan.parquet")])
        raise StorageError(f"no sweep {sweep!r} in {root!r}; {known}")
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
        return self.read("trials")

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
        """Return a table's rows of this sweep, or all without one.

        Args:
            table: its name.
            columns: those to read, the others are not; all where None.

        Raises:
            StorageError: There is no such table or column.
        """
        frame: pd.DataFrame = self.arrow(table, columns).to_pandas()
        if table == "trials" and self.plan is not None:
            labels = self.plan.set_index("trial_id")
            for column in [c for c in labels.columns if columns is None or c in columns]:
                frame[column] = frame["trial_id"].map(labels[column])
        return frame if columns is None else frame[list(columns)]

    def arrow(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return what `read` does as it was written: levels by the names of whoever ran them first.

        There are the columns that are asked for, and the one that rows are told apart by.

        Raises:
            StorageError: There is no such table or column.
        """
        if table not in TABLES:
            raise StorageError(f"no table {table!r}; {allowed(table, TABLES)}")
        known = [column.name for column in TABLES[table]]
        wrong = [name for name in columns or () if name not in known and not is_metric(name)]
        if wrong:
            raise StorageError(f"{table} has no column {wrong[0]!r}; {allowed(wrong[0], known)}")
        tables, plan = self._tables, self.plan
        by = BY.get(table, KEY[table][0])
        rows = tables.arrow(table, None if columns is None else list({by, KEY[table][0], *columns}))
        if plan is None:
            return rows
        own = pa.array(plan["trial_id"] if table == "trials" else sorted(self._stages))
        mine = rows.filter(pc.is_in(rows[by], own))
        if by == KEY[table][0]:
            return mine
        # Networks are shared by sweeps that evaluate them otherwise, and outlive an evaluation.
        exactly = mine.filter(pc.is_in(mine[KEY[table][0]], own))
        return exactly if len(exactly) else mine  # an older mrsweep wrote no keys of evaluations

    @cached_property
    def _tables(self) -> Tables:
        tables = Tables(self.storage)
        tables.hold()
        return tables

    @cached_property
    def _stages(self) -> set[str]:
        """The keys of all stages that the sweep's trials go through."""
        data = self.storage.read("sweeps", str(self.sweep), STAGES_FILE)
        if data is not None:
            return set(pd.read_parquet(io.BytesIO(data))["key"])
        # An older mrsweep wrote none: then only what the trials' rows name is known.
        networks = ["trial_id", *(f"{stage}_network" for stage in STAGES)]
        named = self.read("trials", networks)
        return {key for column in networks for key in named[column].dropna()}

    @cached_property
    def evaluations(self) -> pd.DataFrame:
        """The rows of ``evaluations``."""
        return self.read("evaluations")

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """The rows of ``epochs``."""
        return self.read("epochs")

    @cached_property
    def checks(self) -> pd.DataFrame:
        """The rows of ``checks``."""
        return self.read("checks")

    @cached_property
    def modules(self) -> pd.DataFrame:
        """The rows of ``modules``."""
        return self.read("modules")

    @cached_property
    def jobs(self) -> pd.DataFrame:
        """The rows of ``jobs``."""
        return self.read("jobs")
