"""Maintenance: a storage root is read whole, and what is damaged or missing is named."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.state.artifacts import Artifacts
from results.tables.log import Entries
from results.tables.schema import KEY, TABLES
from results.tables.storage import Storage
from results.tables.store import Tables


def table_faults(storage: Storage) -> Iterator[tuple[str, list[str]]]:
    """Go through the tables: the name of each, and what is wrong with it."""
    tables = Tables(storage)
    yield "log", Entries(storage).faults()
    for table in TABLES:
        yield table, [*tables.faults(table), *_lost(tables, table)]


def _lost(tables: Tables, table: str) -> Iterator[str]:
    """Go through rows that refer to rows of another table that are not there."""
    if table != "trials":
        return
    trials = tables.read("trials", ["trial_id", "status", "finetuned_network"])
    done = trials[trials["status"] == "done"]
    known = set(tables.read("evaluations", ["network"])["network"])
    for trial_id in done.loc[~done["finetuned_network"].isin(known), "trial_id"]:
        yield f"trial {trial_id} is done, but its network has no evaluations"
    repeated = trials[trials.duplicated(list(KEY["trials"]))]
    yield from (f"trial {trial_id} has two rows" for trial_id in repeated["trial_id"])


def artifact_faults(storage: Storage) -> Iterator[tuple[str, list[str]]]:
    """Go through the artifacts, read whole: the path of each, and what is wrong with it."""
    artifacts = Artifacts(storage)
    for stage in storage.names("artifacts"):
        for file in storage.sizes("artifacts", stage):
            key, _, name = file.rpartition("/")
            why = artifacts.fault(stage, key, name)
            yield f"artifacts/{stage}/{file}", [] if why is None else [why]
