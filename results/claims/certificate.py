"""Certificates: what a claim was, how it was decided, and what anyone needs to do it again."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from results.claims.design import Design
from results.claims.looks import Finding, Look, Rows, first_seeds, looks, sentence
from results.claims.outcome import UNDECIDED
from results.claims.question import Question
from results.claims.robustness import dependence, variations
from results.statistics.design.design import GAIN
from results.tables.schema import FACTORS, SUBFACTORS

FORMAT = 1
LIBRARIES = ("numpy", "pandas", "pyarrow", "scipy")
"""What numbers are derived with."""
EXACT = 1e-9
"""Numbers that differ by less are the same: libraries of other versions round otherwise."""
READ = ("trial_id", "status", "error", "dataset", "classes", "macs", "flags", "shortfall", "norm",
        "eps", *SUBFACTORS)  # fmt: skip
"""The columns of ``trials`` that may decide a claim, but for levels, seed and metrics."""
Certificate = dict[str, Any]


def derived(
    claim: str, question: Question, design: Design, trials: Rows, planned: Rows
) -> Certificate:
    """Return what trials say of a claim: what a certificate says that can be derived again.

    Args:
        claim: in words.
        question: what it asks.
        design: when it is looked at.
        trials: rows of ``trials``, by whatever names.
        planned: ``trial_id``, ``seed`` and levels by the names of the claim's sweep.
    """
    rows = labelled(trials, planned)
    taken = list(looks(rows, planned, question, design))
    last = taken[-1] if taken else None
    found: dict[str, Finding] = {}
    if last is not None and last.finding.parts:
        found = variations(first_seeds(rows, planned, last.seeds), question, last.alpha)
    outcome = last.finding.outcome if last else UNDECIDED
    return {
        "outcome": outcome,
        "final": last is not None and (outcome != UNDECIDED or last.seeds == design.seeds[-1]),
        "sentence": sentence(claim, question, last),
        "unit": question.unit,
        "looks": [_shown(look, first_seeds(rows, planned, look.seeds), question) for look in taken],
        "dependence": dependence(outcome, found) if found else "",
        "robustness": {name: _finding(of) for name, of in found.items()},
    }


def labelled(trials: Rows, planned: Rows) -> Rows:
    """Return the rows that are planned, with levels by the names that the plan gives them."""
    labels = planned.set_index("trial_id")
    rows = trials[trials["trial_id"].isin(labels.index)].reset_index(drop=True)
    named = {name: rows["trial_id"].map(labels[name]) for name in labels.columns}
    return rows.assign(**named)


def rows_digest(rows: Rows, question: Question) -> str:
    """Return a digest of all that decides a claim in its rows, whatever their order."""
    attack = question.metric.removeprefix(GAIN).partition("_")[2] or question.metric
    attack = question.metric.removeprefix(GAIN) if question.metric.startswith(GAIN) else attack
    metrics = {question.metric, f"pruned_{attack}", f"finetuned_{attack}"}
    wanted = dict.fromkeys((*READ, *FACTORS, "seed", *sorted(metrics)))
    names = [name for name in wanted if name in rows]
    lines = sorted(
        json.dumps([_plain(value) for value in row], ensure_ascii=False)
        for row in rows[names].itertuples(index=False)
    )
    return digest([names, *lines])


def digest(value: Any) -> str:
    """Return a digest of plain data."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def code_digest() -> str:
    """Return a digest of the code that derives numbers: all modules of ``results``."""
    home = Path(__file__).parents[1]
    files = sorted(home.rglob("*.py"), key=lambda file: file.relative_to(home).as_posix())
    return digest([[file.relative_to(home).as_posix(), file.read_text("utf-8")] for file in files])


def versions() -> dict[str, str]:
    """Return the versions of the libraries that numbers are derived with."""
    return {name: version(name) for name in LIBRARIES}


def differences(said: Any, found: Any, where: str = "", of: str = "certificate") -> Iterator[str]:
    """Go through what differs between what something says and what tables do, each in a line.

    Args:
        said: A piece of what it says.
        found: The same, derived from tables.
        where: The name of the piece.
        of: What says it.
    """
    if isinstance(said, Mapping) and isinstance(found, Mapping):
        for name in dict.fromkeys((*said, *found)):
            place = f"{where}.{name}" if where else str(name)
            if name not in said or name not in found:
                yield f"{place}: only in the {of if name in said else 'tables'}"
            else:
                yield from differences(said[name], found[name], place, of)
    elif _several(said) and _several(found) and len(said) == len(found):
        for number, (one, other) in enumerate(zip(said, found, strict=True)):
            yield from differences(one, other, f"{where}.{number}", of)
    elif not _same(said, found):
        yield f"{where}: the {of} has {_short(said)}, the tables {_short(found)}"


def _several(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _same(said: Any, found: Any) -> bool:
    if _is_number(said) and _is_number(found):
        return math.isclose(said, found, rel_tol=EXACT, abs_tol=EXACT)
    return bool(said == found)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else f"{text[:157]}..."


def _shown(look: Look, rows: Rows, question: Question) -> dict[str, Any]:
    return {
        "seeds": look.seeds,
        "alpha": look.alpha,
        "trials": look.trials,
        "failed": int((rows["status"] == "failed").sum()),
        "rows": rows_digest(rows, question),
        **_finding(look.finding),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    parts = {part.name: [part.value, part.low, part.high] for part in finding.parts}
    found: dict[str, Any] = {"outcome": finding.outcome, "intervals": parts}
    return {**found, "refusals": list(finding.refusals)} if finding.refusals else found


def _plain(value: Any) -> Any:
    """Return a cell as JSON has it, of whatever type a reader of Parquet makes it."""
    if pd.isna(value):
        return None
    item = value.item() if hasattr(value, "item") else value
    return float(item) if isinstance(item, int) and not isinstance(item, bool) else item
