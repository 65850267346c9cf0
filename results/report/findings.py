"""Every table of a report, tidy: what a figure draws and what a reader may recompute."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from results.errors import AnalysisError
from results.statistics.by_image import compare_outcomes
from results.statistics.comparison import PAIR, compare_main_effects, subsets
from results.statistics.contrasts import level_means, paired_difference
from results.statistics.decomposition import decompose, decompose_design
from results.statistics.design import gain_of, make_design, varying_factors
from results.statistics.effects import cost_of_choice, level_effects
from results.statistics.modules import module_table
from results.statistics.pairwise import compare_levels
from results.statistics.pareto import pareto_front
from results.statistics.ranks import rank_agreement, rank_flow
from results.statistics.subfactors import Parts, trained
from results.statistics.verdict import Verdict
from results.tables.load import Loaded

MOST_LEVELS = 8
"""More levels of fine-tuning than this are shown by their parts, where these are crossed."""


def report_tables(
    tables: Loaded,
    trials: pd.DataFrame,
    headline: str,
    metrics: list[str],
    parts_found: list[Parts],
    verdicts: list[Verdict],
    caveats: list[str],
) -> dict[str, pd.DataFrame]:
    """Return every table that the data allow, by the name that its files get.

    What no verdict has said to be missing is added to the ``caveats``.
    """
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
        "modules": module_table(tables.trials, tables.modules),
        "verdict_by_subset": _subsets(trials, headline),
        "adaptive_ratios": _adaptive(trials, metrics),
        "decomposition_by_subset": _everywhere(trials, headline),
        "level_effects": _carried(lambda: level_effects(trials, headline)),
        "cost_of_choice": _carried(lambda: cost_of_choice(trials, headline)),
        "rank_agreement": _carried(lambda: rank_agreement(trials, headline)),
        "rank_flow": rank_flow(trials, headline) if set(PAIR) <= set(factors) else pd.DataFrame(),
        "pairwise": _both(lambda name: compare_levels(trials, headline, name)),
        "pairwise_images": _by_image(trials, tables, headline, caveats),
        "pareto": pareto_front(trials, headline),
        "seed_spread": _seed_spread(trials, headline, [*PAIR, *factors]),
        "without_each_level": verdicts[0].without if verdicts else pd.DataFrame(),
    }
    for metric in metrics:
        try:
            found[f"decomposition_{metric}"] = decompose(trials, metric)
        except AnalysisError:
            continue  # said among the caveats by the verdict on the same metric
    return {name: table for name, table in found.items() if not table.empty}


def _carried(table: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Return a table, or an empty one where the data cannot carry it."""
    try:
        return table()
    except AnalysisError:  # too few seeds or levels: the verdict's own caveat says so
        return pd.DataFrame()


def _both(table: Callable[[str], pd.DataFrame]) -> pd.DataFrame:
    """Return a table of criteria and of fine-tunings as one."""
    found = [_carried(lambda name=name: table(name)) for name in PAIR[::-1]]  # type: ignore[misc]  # a default binds the name
    return pd.concat(found, ignore_index=True)


def _by_image(
    trials: pd.DataFrame, tables: Loaded, metric: str, caveats: list[str]
) -> pd.DataFrame:
    found = []
    for name in PAIR[::-1]:
        if trials[name].nunique() < 2 or trials["seed"].nunique() < 2:
            continue
        try:
            found.append(compare_outcomes(trials, tables.evaluations, metric, name))
        except AnalysisError as error:
            caveats.append(f"No comparison image by image: {error}.")
            break
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def _everywhere(trials: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the decomposition by stage (with the gain between them) and subset."""
    names = {
        "pruned": metric.replace("finetuned_", "pruned_", 1),
        "finetuned": metric,
        "gain": gain_of(metric),
    }
    found = []
    for factor, level, part in (("all", "all", trials), *subsets(trials)):
        for stage, name in names.items():
            table = _carried(lambda part=part, name=name: decompose(part, name))  # type: ignore[misc]  # defaults bind
            if not table.empty:
                table.insert(0, "stage", stage)
                table.insert(0, "level", str(level))
                table.insert(0, "factor", factor)
                found.append(table)
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def _seed_spread(trials: pd.DataFrame, metric: str, factors: list[str]) -> pd.DataFrame:
    """Return each level's mean at every seed, in accuracy points."""
    done = trials[(trials["status"] == "done") & trials[metric].notna()]
    found = [
        (100 * done.groupby([factor, "seed"])[metric].mean()).rename("mean").reset_index()
        .rename(columns={factor: "level"}).assign(factor=factor)
        for factor in dict.fromkeys(factors)
        if factor in PAIR and done[factor].nunique() > 1
    ]  # fmt: skip
    if not found:
        return pd.DataFrame()
    return pd.concat(found, ignore_index=True)[["factor", "level", "seed", "mean"]]


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


def _subsets(trials: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the comparison within every sparsity, architecture, and so on."""
    rows = []
    for factor, level, part in subsets(trials):
        try:
            design = make_design(part, metric)
            found = compare_main_effects(design)
            table = decompose_design(design).set_index("term")["share"]
        except AnalysisError:
            continue  # the whole's verdict has said why, or the subset is too small for one
        winner, difference, low, high = found
        mixed = [term for term in table.index if set(term.split(":")) == set(PAIR)]
        rows.append(
            {
                "factor": factor,
                "level": str(level),
                **{name: table[name] for name in PAIR},
                "interaction": table[mixed].sum(),
                "difference": difference,
                "low": low,
                "high": high,
                "winner": winner,
            }
        )
    return pd.DataFrame(rows)


def _adaptive(trials: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """Return each allocation against uniform at equal achieved budgets, by cell and seed."""
    others = sorted(set(trials["allocation"].unique()) - {"uniform"})
    parts = []
    for metric in metrics:
        for other in others:
            pairs = [("all", ()), ("finetuning", ("finetuning",)), ("sparsity", ("sparsity",))]
            for name, by in pairs:
                table = paired_difference(trials, metric, "allocation", other, "uniform", by,
                                          equal=_achieved(trials))  # fmt: skip
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


EQUAL = 0.01
"""Achieved budgets that differ by no more are equal: what a budget is to be met within."""


def _achieved(trials: pd.DataFrame) -> tuple[str, float] | None:
    """Return the column of the budget that was achieved, and by how much equal ones may differ."""
    if "budget" not in trials or trials["budget"].nunique() != 1:
        return None
    column = f"{trials['budget'].iloc[0]}_removed"
    return (column, EQUAL) if column in trials else None
