"""Everything that a report says, as tidy tables and sentences; no plotting, no files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from results.comparison import PAIR
from results.contrasts import level_means, paired_difference
from results.decomposition import decompose
from results.design import AnalysisError, metrics_of, varying_factors
from results.intervals import mean_interval
from results.loading import Loaded
from results.schema import metric_label
from results.subfactors import Parts, parts, trained
from results.verdict import Verdict, verdict
from results.words import percent


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
        tables=_tables(tables, trials, headline, ordered, parts_found),
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


MOST_LEVELS = 8
"""More levels of fine-tuning than this are shown by their parts, where these are crossed."""


def _tables(
    tables: Loaded,
    trials: pd.DataFrame,
    headline: str,
    metrics: list[str],
    parts_found: list[Parts],
) -> dict[str, pd.DataFrame]:
    factors = varying_factors(trials)
    crossed = list(parts_found[0].parts) if parts_found else []
    shown = ["criterion", "finetuning"]
    if crossed and trials["finetuning"].nunique() > MOST_LEVELS:
        shown = ["criterion", *crossed[:2]]
    fine = trained(trials)
    found = {
        "variance_shares": _shares(trials, headline),
        "level_means": _all_levels(trials, headline, factors),
        "accuracy_by_sparsity": _curves(trials, headline, [*factors, *crossed], shown),
        "criterion_by_finetuning": level_means(trials, headline, PAIR[::-1]),
        "finetuning_parts": _part_shares(parts_found[0]) if parts_found else pd.DataFrame(),
        "part_means": _all_levels(fine, headline, crossed),
        "parts_crossed": (level_means(fine, headline, crossed[:2]) if crossed else pd.DataFrame()),
        "sanity_checks": _checks(tables, trials),
        "modules": _modules(tables),
        "verdict_by_subset": _subsets(trials, headline),
        "adaptive_ratios": _adaptive(trials, metrics),
    }
    for metric in metrics:
        try:
            found[f"decomposition_{metric}"] = decompose(trials, metric)
        except AnalysisError:
            continue  # said among the caveats by the verdict on the same metric
    return {name: table for name, table in found.items() if not table.empty}


def _shares(trials: pd.DataFrame, metric: str, most: int = 5) -> pd.DataFrame:
    """Return main effects and the largest interactions, before and after fine-tuning."""
    stages = {"pruned": metric.replace("finetuned_", "pruned_", 1), "finetuned": metric}
    parts = []
    for stage, name in stages.items():
        try:
            table = decompose(trials, name)
        except AnalysisError:
            return pd.DataFrame()
        parts.append(table.assign(stage=stage))
    both = pd.concat(parts, ignore_index=True)
    main = both[(both["order"] == 1) & (both["stage"] == "finetuned")]
    mixed = both[both["order"] > 1].groupby("term")["share"].max().nlargest(most)
    order = [*main.sort_values("share", ascending=False)["term"], *mixed.index]
    both = both[both["term"].isin(order)]
    return both.sort_values(
        ["term", "stage"], key=lambda c: c.map(order.index) if c.name == "term" else c
    ).reset_index(drop=True)


def _all_levels(trials: pd.DataFrame, metric: str, factors: list[str]) -> pd.DataFrame:
    parts = [
        level_means(trials, metric, [factor])
        .rename(columns={factor: "level"})
        .assign(factor=factor, level=lambda t: t["level"].astype(str))
        for factor in factors
    ]
    if not parts:
        return pd.DataFrame()
    table = pd.concat(parts, ignore_index=True)
    return table[["factor", "level", "mean", "low", "high", "seeds", "trials"]]


def _part_shares(found: Parts, most: int = 5) -> pd.DataFrame:
    """Return main effects, the largest first, and the largest interactions."""
    table = found.table[found.table["order"] > 0]
    main = table[table["order"] == 1].sort_values("share", ascending=False)
    mixed = table[table["order"] > 1].nlargest(most, "share")
    return pd.concat([main, mixed], ignore_index=True).assign(stage="finetuned")


def _checks(tables: Loaded, trials: pd.DataFrame) -> pd.DataFrame:
    """Return how the networks of the sweep did in every check against false robustness."""
    mine = tables.checks[tables.checks["network"].isin(trials["finetuned_network"])]
    if mine.empty:
        return pd.DataFrame()
    grouped = mine.groupby(["check", "stronger", "weaker"], sort=False)
    return grouped.agg(
        networks=("network", "nunique"),
        failed=("passed", lambda passed: int((~passed.astype(bool)).sum())),
        stronger_accuracy=("stronger_accuracy", "mean"),
        weaker_accuracy=("weaker_accuracy", "mean"),
        images=("images", "max"),
    ).reset_index()


def _curves(
    trials: pd.DataFrame, metric: str, factors: list[str], shown: list[str]
) -> pd.DataFrame:
    parts = [
        level_means(trials, metric, [factor, "sparsity"])
        .rename(columns={factor: "level"})
        .assign(factor=factor)
        for factor in shown
        if factor in factors
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _modules(tables: Loaded) -> pd.DataFrame:
    """Return MRS and ratio by module, means over seeds and criteria with intervals over seeds.

    Modules are other things under each granularity, so that is told apart with the architecture.
    """
    trials = tables.trials
    wanted = ["architecture", "granularity", "allocation", "sparsity", "criterion", "seed"]
    done = trials[trials["status"] == "done"]
    pruned = done.drop_duplicates(wanted)[[*wanted, "pruned_network"]]
    joined = tables.modules.merge(pruned, left_on="network", right_on="pruned_network")
    if joined["granularity"].nunique() > 1:
        joined["architecture"] += ", " + joined["granularity"]
    rows: list[dict[str, object]] = []
    by = ["architecture", "position", "module", "allocation", "sparsity"]
    # Estimates of the MRS, and other sensitivities, are not to be averaged with it.
    measured = joined.dropna(subset="mrs")
    measured = measured[measured["allocation"] == min(measured["allocation"], default="mrs")]
    mrs = measured.groupby(["architecture", "position", "seed"])["mrs"].mean()
    by_place = {
        place: of_seeds.to_numpy(dtype=float)
        for place, of_seeds in mrs.groupby(["architecture", "position"])
    }
    for levels, group in joined.groupby(by, sort=True):
        named = dict(zip(by, levels, strict=True))
        ratio = group.groupby("seed")["ratio"].mean().to_numpy(dtype=float)
        low, high = mean_interval(ratio)
        row = {**named, "ratio": ratio.mean(), "ratio_low": low, "ratio_high": high}
        place = (named["architecture"], named["position"])
        if place in by_place:
            seeds = by_place[place]
            mrs_low, mrs_high = mean_interval(seeds)
            row |= {"mrs": seeds.mean(), "mrs_low": mrs_low, "mrs_high": mrs_high}
        rows.append(row)
    columns = [*by, "mrs", "mrs_low", "mrs_high", "ratio", "ratio_low", "ratio_high"]
    return pd.DataFrame(rows, columns=columns)


def _subsets(trials: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the verdict within every sparsity, architecture and allocation."""
    rows = []
    for factor in ("sparsity", "architecture", "allocation"):
        if trials[factor].nunique() < 2:
            continue
        for level in sorted(trials[factor].unique()):
            try:
                found = verdict(trials[trials[factor] == level], metric)
            except AnalysisError:
                continue  # the whole's verdict has said why, or the subset is too small for one
            rows.append(
                {
                    "factor": factor,
                    "level": str(level),
                    "finetuning": found.shares["finetuning"][0],
                    "criterion": found.shares["criterion"][0],
                    "interaction": found.interaction,
                    "difference": found.difference,
                    "low": found.low,
                    "high": found.high,
                    "winner": found.winner,
                }
            )
    return pd.DataFrame(rows)


def _adaptive(trials: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """Return each allocation against uniform at the same budget, paired by cell and seed."""
    others = sorted(set(trials["allocation"].unique()) - {"uniform"})
    parts = []
    for metric in metrics:
        for other in others:
            pairs = [("all", ()), ("finetuning", ("finetuning",)), ("sparsity", ("sparsity",))]
            for name, by in pairs:
                table = paired_difference(trials, metric, "allocation", other, "uniform", by)
                within = table[name].astype(str) if by else "all"
                parts.append(
                    table.drop(columns=list(by)).assign(
                        metric=metric, allocation=other, factor=name, level=within
                    )
                )
    if not parts:
        return pd.DataFrame()
    table = pd.concat(parts, ignore_index=True)
    order = ["metric", "allocation", "factor", "level", "mean", "low", "high", "seeds", "pairs"]
    return table[order]
