"""Everything that a report says, as tidy tables and sentences; no plotting, no files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from results.errors import AnalysisError
from results.report.findings import report_tables
from results.statistics.design import metrics_of
from results.statistics.subfactors import Parts, parts
from results.statistics.verdict import Verdict, verdict
from results.statistics.words import percent
from results.tables.load import Loaded
from results.tables.schema import metric_label


@dataclass(frozen=True)
class Summary:
    """What one data set of a sweep says; tables by the name that their files get."""

    dataset: str
    planned: int
    done: int
    failed: int
    missing: int
    errors: dict[str, int]
    """How many trials failed with each error."""
    headline: str
    """The metric that the verdict is on: the strongest attack's, after fine-tuning."""
    verdicts: list[Verdict]
    parts: list[Parts]
    """What the parts of fine-tuning explain, by metric; empty where they are not crossed."""
    caveats: list[str]
    tables: dict[str, pd.DataFrame]
    trials: pd.DataFrame
    """The rows that all of it is of."""
    metrics: list[str]
    """Those of the fine-tuned networks, the headline first."""


def summarise(tables: Loaded, metric: str | None = None) -> Summary:
    """Return what the tables say; with ``metric``, that one leads.

    What the data cannot carry is said among the caveats. Raises AnalysisError where no trial is
    done, or the metric is not there.
    """
    trials = tables.trials
    done = trials[trials["status"] == "done"]
    if done.empty:
        raise AnalysisError(
            f"no trial is done ({len(trials)} failed, {tables.missing} not run yet): "
            "there is nothing to report"
        )
    if done["dataset"].nunique() > 1:
        names = ", ".join(sorted(done["dataset"].unique()))
        raise AnalysisError(f"several data sets ({names}): report one sweep at a time")
    after = [name for name in metrics_of(done) if name.startswith("finetuned_")]
    headline = leading_metric(done, metric)
    ordered = [headline, *(name for name in after if name != headline)]
    caveats = [*_counts(trials, tables.missing), *stopping_rule(tables.replication)]
    verdicts = []
    for name in ordered:
        try:
            verdicts.append(verdict(trials, name))
        except AnalysisError as error:
            caveats.append(f"No verdict on {metric_label(name)}: {error}.")
    parts_found = list(_parts(trials, ordered))
    notes = {note for found in verdicts for note in found.notes}
    notes |= {note for found in parts_found for note in found.notes}
    caveats += sorted(f"{note}." for note in notes)
    if tables.checks.empty or not tables.checks["network"].isin(trials["finetuned_network"]).any():
        caveats.append("No network was checked for false robustness (sanity_images: 0).")
    found = report_tables(tables, trials, headline, ordered, parts_found, verdicts, caveats)
    failed = trials[trials["status"] == "failed"]
    return Summary(
        dataset=str(done["dataset"].iloc[0]),
        planned=len(trials) + tables.missing,
        done=len(done),
        failed=len(failed),
        missing=tables.missing,
        errors={str(k): int(v) for k, v in failed["error"].value_counts().items()},
        headline=headline,
        verdicts=verdicts,
        parts=parts_found,
        caveats=caveats,
        tables=found,
        trials=trials,
        metrics=ordered,
    )


def _parts(trials: pd.DataFrame, metrics: list[str]) -> Iterator[Parts]:
    for metric in metrics:
        try:
            yield parts(trials, metric)
        except AnalysisError:
            return  # most sweeps cross no parts; one that does says so for every metric


def leading_metric(done: pd.DataFrame, metric: str | None = None) -> str:
    """Return the metric that the verdict is on: the strongest attack's, unless one is given."""
    after = [name for name in metrics_of(done) if name.startswith("finetuned_")]
    if metric is not None:
        if metric not in after:
            raise AnalysisError(f"no metric {metric!r}; there are: {', '.join(after)}")
        return metric
    return str(done[after].mean().idxmin())


def stopping_rule(record: Mapping[str, Any]) -> list[str]:
    """Say by which rule seeds were added, and what each look found; nothing where none were."""
    if not record:
        return []
    rule, looks = record["rule"], record["looks"]
    widths = ", ".join(f"{look['seeds']}: {percent(look['half_width'])}" for look in looks)
    hours = rule["until"]["hours"]
    budget = f"at most {rule['max']}" + (f" and {hours:g} device-hours" if hours else "")
    ended = {
        "narrow": "it ended there because the interval was narrow enough",
        "max": "it ended there because the most seeds were done",
        "hours": "it ended there because the device-hours were spent",
    }.get(record["ended"] or "", "it has not ended yet")
    said = (
        f"Seeds were added, from {rule['min']} to {budget}, until the 95 % interval of the "
        f"verdict on {metric_label(record['metric'])} was no more than "
        f"{percent(rule['until']['half_width'])} of the variance to either side; half-widths by "
        f"number of seeds were {widths}; {ended}. An interval that decides when to stop "
        "is a little too narrow: in simulations such intervals covered the truth 90 to 96 % of the "
        "time, and equal effects were told apart in up to 9 % of them, not 5 "
        "(benchmarks/calibration.py stopping)."
    )
    return [said]


def _counts(trials: pd.DataFrame, missing: int) -> list[str]:
    found = []
    failed = int((trials["status"] == "failed").sum())
    if failed:
        found.append(f"{failed} trials failed; they are named below.")
    if missing:
        found.append(f"{missing} planned trials have not run yet: the sweep is not complete.")
    short = int(trials["shortfall"].notna().sum())
    if short:
        found.append(f"{short} trials missed their budget by more than one point.")
    return found
