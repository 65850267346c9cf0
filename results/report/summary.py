"""Everything that a report says, as tidy tables and sentences; no plotting, no files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pandas as pd

from results.errors import AnalysisError
from results.report.finding import Evidence
from results.report.findings import SECTIONS
from results.report.judged import carried, judged, verdict_of
from results.statistics.design.words import metric_label
from results.statistics.verdict.sentences import Verdict
from results.statistics.verdict.subfactors import Parts, parts
from results.tables.load import Loaded


@dataclass(frozen=True)
class Summary:
    """What a sweep says."""

    evidence: Evidence
    tables: dict[str, pd.DataFrame]
    """Every finding that the data allow, by the name that its files get."""
    caveats: list[str]
    unsaid: str = ""
    """Why the data carry no verdict on the metric that leads; empty where they do."""

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
    heard = judged(loaded, metric)
    metrics = heard.metrics
    parts_by_metric, _ = carried(lambda name: parts(trials, name), metrics)
    caveats = heard.caveats({note for of_metric in parts_by_metric for note in of_metric.notes})
    by_dataset = {}
    for dataset, of_one in trials.groupby("dataset") if trials["dataset"].nunique() > 1 else ():
        by_dataset[str(dataset)], why = carried(partial(verdict_of, of_one, loaded), metrics)
        caveats += [f"No verdict on {metric_label(name)} on {dataset} alone: {error}."
                    for name, error in why.items()]  # fmt: skip
    evidence = Evidence(loaded, metrics[0], metrics, heard.verdicts, parts_by_metric, by_dataset)
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
    return Summary(evidence, tables, caveats, heard.missed.get(metrics[0], ""))
