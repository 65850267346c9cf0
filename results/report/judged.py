"""The verdicts that tables carry, and what must be said beside them; nothing is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd

from results.errors import AnalysisError
from results.statistics.design.design import metrics_of
from results.statistics.design.failures import together
from results.statistics.design.words import listed, metric_label, percent, several
from results.statistics.verdict.sentences import Verdict
from results.statistics.verdict.verdict import leading_metric, verdict
from results.tables.load import Loaded

PRUNING = ("criterion", "sparsity", "allocation", "granularity")
"""The factors that a pruned network follows from, besides its dense network."""


@dataclass(frozen=True)
class Judged:
    """The verdicts of a sweep, and what speaks against them."""

    metrics: tuple[str, ...]
    """Of the final networks, the one that leads first."""
    verdicts: tuple[Verdict, ...]
    """By metric, where the data carry one, the one that leads first."""
    missed: Mapping[str, str]
    """By metric, why the data carry no verdict on it."""
    counted: tuple[str, ...]
    """Caveats that come before those of the verdicts."""
    checked: bool
    """Whether any network was checked for false robustness."""

    def caveats(self, notes: Iterable[str] = ()) -> list[str]:
        """Return what must be said beside the verdicts, more notes among it."""
        every = {note for verdict in self.verdicts for note in verdict.notes} | set(notes)
        whys = dict.fromkeys(self.missed.values())
        alike = {why: [metric_label(of).removesuffix(" accuracy") for of in self.missed
                       if self.missed[of] == why] for why in whys}  # fmt: skip
        missed = [f"No verdict on {listed(of)} accuracy: {why}." for why, of in alike.items()]
        said = sorted(f"{note[:1].upper()}{note[1:]}." for note in together(every))
        caveats = [*self.counted, *missed, *said]
        if not self.checked:
            caveats.append("No network was checked for false robustness (sanity_images: 0).")
        return caveats


def judged(loaded: Loaded, metric: str | None = None) -> Judged:
    """Return the verdicts that the tables carry; with ``metric``, that one leads.

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
    counted = [
        *_counts(trials, loaded.missing),
        *kinds_of_machines(trials),
        *stopping_rule(loaded.replication),
    ]
    verdicts, missed = carried(lambda name: verdict_of(trials, loaded, name), metrics)
    checked = bool(loaded.checks["network"].isin(trials["finetuned_network"]).any())
    why = {name: str(error) for name, error in missed.items()}
    return Judged(metrics, verdicts, why, tuple(counted), checked)


def verdict_of(trials: pd.DataFrame, loaded: Loaded, metric: str) -> Verdict:
    """Return a verdict for other images too where there are outcomes by image.

    Args:
        trials: those that it is on: all of the sweep, or some.
        loaded: the sweep's tables.
        metric: what it is on.
    """
    try:
        return verdict(trials, metric, evaluations=loaded.evaluations)
    except AnalysisError:
        return verdict(trials, metric)


T = TypeVar("T")


def carried(
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
        yield f"{several(failed, 'trial')} failed: mrsweep failures FILE says why."
    if missing:
        yield f"The sweep is not complete: planned trials that have not run yet: {missing}."
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
