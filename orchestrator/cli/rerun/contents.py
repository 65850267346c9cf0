"""What goes into a bundle: the tables of one sweep, its file, code and checkpoints; no torch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestrator.cli.rerun.sweepfile import portable
from orchestrator.errors import RequestError
from orchestrator.planning.outsiders import outsiders
from orchestrator.planning.plan import Plan
from orchestrator.planning.sources import sources
from results.publish.about import File
from results.publish.places import without_places
from results.report.judged import Judged
from results.statistics.verdict.sentences import Verdict
from results.tables.file import packed
from results.tables.load import STAGES_FILE, Loaded
from results.tables.schema import TABLES, is_metric

Content = Mapping[str, bytes | Path]
"""By path in the bundle: what a file holds, or where it lies here."""
BESIDE = ("plan.parquet", STAGES_FILE, "data.json", "replication.json")
"""Files of the sweep's folder that come along as they are."""
TABLE = "000001.parquet"


def planned(plan: Plan, loaded: Loaded) -> str:
    """Return the text of a sweep as it ran, once it is seen that the plan is of it.

    Raises:
        RequestError: The sweep that ran under its name is another one, with this code.
    """
    text = loaded.storage.read("sweeps", plan.sweep.name, "sweep.yaml")
    if text is None or loaded.plan is None:
        raise RequestError(f"sweep {plan.sweep.name!r} has no file in {loaded.storage.root}")
    ran = set(loaded.plan["trial_id"])
    if ran != set(plan.trials):
        where = loaded.storage.path("sweeps", plan.sweep.name, "sweep.yaml")
        rows = loaded.trials
        by = sorted(map(str, (rows["version"] + " " + rows["commit"].fillna("")).dropna().unique()))
        raise RequestError(
            f"{len(ran - set(plan.trials))} of the {len(ran)} trials that ran as "
            f"{plan.sweep.name!r} are not in this plan. If the file was changed since, run it, or "
            f"bundle {where}; if methods, images or mrsweep were (rows are of {', '.join(by)}), "
            "bundle it with those that it ran with"
        )
    if loaded.trials.empty:
        raise RequestError(f"no trial of {plan.sweep.name!r} has run: there is nothing to bundle")
    return text.decode()


def tables_of(loaded: Loaded) -> dict[str, pa.Table]:
    """Return the rows of one sweep, its own names for levels, without names of machines."""
    return without_places(
        {table: _named(loaded, _own(loaded.arrow(table)), table) for table in TABLES}
    )


def _own(rows: pa.Table) -> pa.Table:
    """Return rows without the metrics that other sweeps alone have."""
    others = [name for name in rows.column_names
              if is_metric(name) and rows[name].null_count == len(rows)]  # fmt: skip
    return rows.drop_columns(others)


def _named(loaded: Loaded, rows: pa.Table, table: str) -> pa.Table:
    if table != "trials" or loaded.plan is None:
        return rows
    labels = loaded.plan.set_index("trial_id")
    for name in labels.columns:
        at = rows.column_names.index(name)
        told = labels[name].reindex(rows["trial_id"].to_pylist())
        rows = rows.set_column(
            at, rows.schema.field(at), pa.array(told, rows.schema.field(at).type)
        )
    return rows


def gathered(plan: Plan, text: str, loaded: Loaded, tables: Mapping[str, pa.Table]) -> Content:
    """Return the files of a bundle, but for those that describe it and networks.

    Raises:
        RequestError: Methods of the user's own are registered by two packages.
        DeclarationError: A method of the user's own reads a file that cannot come along.
    """
    name = plan.sweep.name
    told = portable(text, plan)
    found: dict[str, bytes | Path] = {f"sweeps/{name}/sweep.yaml": told.text.encode()}
    for file in BESIDE:
        if (data := loaded.storage.read("sweeps", name, file)) is not None:
            found[f"sweeps/{name}/{file}"] = data
    found |= {f"tables/{table}/{TABLE}": packed(rows) for table, rows in tables.items()}
    for axis, own in outsiders(plan.sweep):
        found |= {f"code/{path}": file for path, file in sources(axis, own).items()}
    return found | dict(told.files)


def written(content: Content, folder: Path) -> dict[str, File]:
    """Write files below a folder; return what each is.

    Raises:
        OSError: One cannot be read or written.
    """
    found = {}
    for path, what in sorted(content.items()):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        data = what if isinstance(what, bytes) else what.read_bytes()
        file.write_bytes(data)
        found[path] = File(len(data), hashlib.sha256(data).hexdigest())
    return found


def verdicts_of(heard: Judged) -> dict[str, dict[str, Any]]:
    """Return what verdicts say, as plain data that can be compared, by metric."""
    return {verdict.metric: _plain(verdict) for verdict in heard.verdicts}


def _plain(verdict: Verdict) -> dict[str, Any]:
    return {
        "sentence": verdict.sentence,
        "winner": verdict.winner,
        "difference": _finite(verdict.difference, verdict.low, verdict.high),
        "shares": {name: _finite(*share) for name, share in verdict.shares.items()},
        "interaction": _finite(verdict.interaction),
        "seeds": verdict.seeds,
        "cells": verdict.cells,
        "depends_on": list(verdict.depends_on),
    }


def _finite(*values: float) -> list[float | None]:
    """Return numbers as JSON has them: without those that are none."""
    return [value if math.isfinite(value) else None for value in map(float, values)]
