"""Everything that a report says, as tidy tables and sentences; no plotting, no files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import pandas as pd

from results.errors import AnalysisError
from results.report.finding import Evidence
from results.report.findings import SECTIONS
from results.statistics.design.design import metrics_of
from results.statistics.design.words import metric_label, percent
from results.statistics.verdict.sentences import Verdict
from results.statistics.verdict.subfactors import Parts, parts
from results.statistics.verdict.verdict import leading_metric, verdict
from results.tables.load import Loaded

PRUNING = ("criterion", "sparsity", "allocation", "granularity")
"""The factors that a pruned network follows from, besides its dense network."""


@dataclass(frozen=True)
class Summary:
    """What a sweep says."""

    evidence: Evidence
    tables: dict[str, pd.DataFrame]
    """Every finding that the data allow, by the name that its files get."""
    caveats: list[str]

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """By metric, the one that leads first."""
        return self.evidence.verdicts

    @property
    def parts(self) -> tuple[Parts, ...]:
        """What the parts of fine-tuning explain, by metric; empty where they are not crossed."""
        return self.evidence.parts

    @property
    def dataset(self) -> str:
        """The data set's name, or those of all."""
        return ", ".join(sorted(self.evidence.trials["dataset"].unique()))

    @property
    def missing(self) -> int:
        """How many planned trials have no row yet."""
        return self.evidence.loaded.missing

    @property
    def planned(self) -> int:
        """How many trials the sweep has."""
        return len(self.evidence.trials) + self.missing

    @property
    def done(self) -> int:
        """How many trials are done."""
        return int((self.evidence.trials["status"] == "done").sum())

    @property
    def errors(self) -> dict[str, int]:
        """How many trials failed with each error."""
        trials = self.evidence.trials
        counts = trials.loc[trials["status"] == "failed", "error"].value_counts()
        return {str(error): int(count) for error, count in counts.items()}

    @property
    def failed(self) -> int:
        """How many trials failed."""
        return int((self.evidence.trials["status"] == "failed").sum())


def summarise(loaded: Loaded, metric: str | None = None) -> Summary:
    """Return what the tables say; with ``metric``, that one leads.

    What the data cannot carry is said among the caveats.

    Raises:
        AnalysisError: where no trial is done, or the metric is not there.
    """
    trials = loaded.trials
    done = trials[trials["status"] == "done"]
    if done.empty:
        raise AnalysisError(
            f"no trial is done ({len(trials)} failed, {loaded.missing} not run yet): "
            "there is nothing to report"
        )
    lead = leading_metric(done, metric)
    after = [name for name in metrics_of(done) if name.startswith("finetuned_")]
    metrics = (lead, *(name for name in after if name != lead))
    caveats = [
        *_counts(trials, loaded.missing),
        *kinds_of_machines(trials),
        *stopping_rule(loaded.replication),
    ]
    verdicts, missed = _carried(lambda name: _verdict(trials, loaded, name), metrics)
    caveats += [f"No verdict on {metric_label(name)}: {error}." for name, error in missed.items()]
    parts_by_metric, _ = _carried(lambda name: parts(trials, name), metrics)
    notes = {note for of_metric in verdicts for note in of_metric.notes}
    notes |= {note for of_metric in parts_by_metric for note in of_metric.notes}
    caveats += sorted(f"{note}." for note in notes)
    if not loaded.checks["network"].isin(trials["finetuned_network"]).any():
        caveats.append("No network was checked for false robustness (sanity_images: 0).")
    by_dataset = {}
    for dataset, of_one in trials.groupby("dataset") if trials["dataset"].nunique() > 1 else ():
        by_dataset[str(dataset)], why = _carried(partial(_verdict, of_one, loaded), metrics)
        caveats += [f"No verdict on {metric_label(name)} on {dataset} alone: {error}."
                    for name, error in why.items()]  # fmt: skip
    evidence = Evidence(loaded, lead, metrics, verdicts, parts_by_metric, by_dataset)
    tables: dict[str, pd.DataFrame] = {}
    for finding in (finding for section in SECTIONS for finding in section.findings):
        for name, of_metric in finding.instances(evidence):
            try:
                table = finding.compute(of_metric)
            except AnalysisError as error:
                if finding.caveat:
                    caveats.append(f"{finding.caveat}: {error}.")
                continue
            if not table.empty:
                tables[name] = table
    return Summary(evidence, tables, caveats)


def _verdict(trials: pd.DataFrame, loaded: Loaded, metric: str) -> Verdict:
    """Return the verdict for other images too where there are outcomes by image."""
    try:
        return verdict(trials, metric, evaluations=loaded.evaluations)
    except AnalysisError:
        return verdict(trials, metric)


T = TypeVar("T")


def _carried(
    analyse: Callable[[str], T], metrics: Sequence[str]
) -> tuple[tuple[T, ...], dict[str, AnalysisError]]:
    """Return what the data carry of an analysis, by metric, and why not the rest."""
    carried, missed = [], {}
    for metric in metrics:
        try:
            carried.append(analyse(metric))
        except AnalysisError as error:
            missed[metric] = error
    return tuple(carried), missed


def stopping_rule(record: Mapping[str, Any]) -> Iterator[str]:
    """Say by which rule seeds were added, and what each look found; nothing where none were."""
    if not record:
        return
    rule, looks = record["rule"], record["looks"]
    seen = ((look["seeds"], look["half_width"]) for look in looks)
    widths = ", ".join(f"{n}: {'no verdict' if w is None else percent(w)}" for n, w in seen)
    hours = rule["until"]["hours"]
    budget = f"at most {rule['max']}" + (f" and {hours:g} device-hours" if hours else "")
    ended = {
        "narrow": "it ended there because the interval was narrow enough",
        "max": "it ended there because the most seeds were done",
        "hours": "it ended there because the device-hours were spent",
    }.get(record["ended"] or "", "it has not ended yet")
    on = f" on {metric_label(record['metric'])}" if record["metric"] else ""
    yield (
        f"Seeds were added, from {rule['min']} to {budget}, until the 95 % interval of the "
        f"verdict{on} was no more than "
        f"{percent(rule['until']['half_width'])} of the variance to either side; half-widths by "
        f"number of seeds were {widths}; {ended}. An interval that decides when to stop "
        "is a little too narrow: in simulations such intervals covered the truth 90 to 100 % of "
        "the time, and equal effects were told apart in up to 9 % of them, not 5 "
        "(benchmarks/calibration.py stopping)."
    )


def _counts(trials: pd.DataFrame, missing: int) -> Iterator[str]:
    if failed := int((trials["status"] == "failed").sum()):
        yield f"{failed} trials failed; they are named below."
    if missing:
        yield f"{missing} planned trials have not run yet: the sweep is not complete."
    if short := int(trials["shortfall"].notna().sum()):
        yield f"{short} trials missed their budget by more than one point."
    yield from shared_networks(trials)


def shared_networks(trials: pd.DataFrame) -> Iterator[str]:
    """Say how many pruned networks are another cell's too, and give an example.

    Those of iterative pruning were trained between rounds: equal units have unlike weights.
    """
    at_once = trials[trials["kept_units"].notna() & ~(trials["rounds"] > 1)]
    networks = at_once.drop_duplicates("pruned_network")
    same = ["dense_network", "kept_units"]
    alike = networks[networks.duplicated(same, keep=False)]
    if alike.empty:
        return
    pair = next(iter(alike.groupby(same, sort=False)))[1].head(2)[list(PRUNING)]
    apart = [factor for factor in PRUNING if pair[factor].nunique() > 1]
    one, other = (
        ", ".join(f"{factor} {row[factor]}" for factor in apart) for _, row in pair.iterrows()
    )
    yield (
        f"{len(alike)} pruned networks are those of other cells too (trials.kept_units), such as "
        f"with {one} and with {other}: between these no difference can come from the pruning."
    )


def kinds_of_machines(trials: pd.DataFrame) -> Iterator[str]:
    """Say that rows were computed by several kinds of processor or accelerator."""
    for column in (one for one in ("processor", "accelerator") if one in trials):
        kinds = trials[column].dropna().value_counts()
        if len(kinds) > 1:
            listed = ", ".join(f"{kind} ({count} trials)" for kind, count in sorted(kinds.items()))
            yield f"Several kinds of {column}, which round differently: {listed}."
