"""Does it hold? The verdict without each level, within each subset, at each seed."""

from __future__ import annotations

from contextlib import suppress

import pandas as pd
from matplotlib.figure import Figure

from results.errors import AnalysisError
from results.report import columns
from results.report.figures.forest import forest_figure
from results.report.figures.seeds import seed_figure
from results.report.finding import Evidence, Finding, Section, by_metric, stacked, verdict_row
from results.statistics.design.design import gain_of, make_design, stage_metrics
from results.statistics.design.words import metric_label, term_name
from results.statistics.shares.comparison import PAIR, compare_main_effects, subsets
from results.statistics.shares.decomposition import (
    decompose,
    decompose_design,
    interaction_share,
    shares_of,
)


def _by_dataset(evidence: Evidence) -> pd.DataFrame:
    """Return the verdicts on each data set alone, errors of images counted where they are known."""
    rows = [{"dataset": name, **verdict_row(verdict)}
            for name, verdicts in evidence.by_dataset.items() for verdict in verdicts]  # fmt: skip
    return by_metric(rows)


def _by_subset(evidence: Evidence) -> pd.DataFrame:
    """Return the comparison within every sparsity, architecture, and so on."""
    rows = []
    for factor, level, trials in subsets(evidence.trials):
        # The whole's verdict has said why not, or the subset is too small for one.
        with suppress(AnalysisError):
            design = make_design(trials, evidence.metric)
            comparison = compare_main_effects(design)
            shares = shares_of(decompose_design(design))
            rows.append(
                {
                    "factor": factor,
                    "level": str(level),
                    **{name: shares[name].value for name in PAIR},
                    "interaction": interaction_share(shares, PAIR),
                    "difference": comparison.difference.value,
                    "low": comparison.difference.low,
                    "high": comparison.difference.high,
                    "winner": comparison.winner,
                }
            )
    return pd.DataFrame(rows)


def _decompositions(evidence: Evidence) -> pd.DataFrame:
    """Return the decomposition by subset and stage, and of the gain between the stages."""
    tables = []
    metrics = {**stage_metrics(evidence.metric), "gain": gain_of(evidence.metric)}
    for factor, level, trials in (("all", "all", evidence.trials), *subsets(evidence.trials)):
        for stage, metric in metrics.items():
            with suppress(AnalysisError):
                table = decompose(trials, metric)
                tables.append(table.assign(factor=factor, level=str(level), stage=stage))
    first = ["factor", "level", "stage"]
    return stacked([table[[*first, *table.columns.drop(first)]] for table in tables])


def _by_seed(evidence: Evidence) -> pd.DataFrame:
    """Return each level's mean at every seed, in accuracy points."""
    trials, metric = evidence.trials, evidence.metric
    done = trials[(trials["status"] == "done") & trials[metric].notna()]
    tables = [
        (100 * done.groupby([factor, "seed"])[metric].mean()).rename("mean").reset_index()
        .rename(columns={factor: "level"}).assign(factor=factor)
        for factor in PAIR
        if done[factor].nunique() > 1
    ]  # fmt: skip
    return stacked(tables).reindex(columns=["factor", "level", "seed", "mean"])


def _draw_subsets(table: pd.DataFrame, _: Evidence, width: float | None) -> Figure | None:
    """Draw what is not drawn yet: leaving out one of two levels is the other alone."""
    levels = table.groupby("factor")["level"].transform("nunique")
    more = table[levels > 2]
    return None if more.empty else _draw_differences(more, "{} alone", width)


def _draw_differences(table: pd.DataFrame, level: str, width: float | None) -> Figure:
    """Draw differences in percent, each under what its level is called."""
    shown = table.assign(
        **{name: 100 * table[name] for name in ("difference", "low", "high")},
        level=[level.format(name) for name in table["level"]],
    )
    label = "fine-tuning less criterion (% of the variance)"
    return forest_figure(shown, "difference", label, digits=0, width=width)


SECTION = Section(
    name="holds",
    heading="Does it hold everywhere?",
    link="Does it hold?",
    findings=(
        Finding(
            name="without_each_level",
            compute=lambda e: e.verdicts[0].without if e.verdicts else pd.DataFrame(),
            draw=lambda table, _, width: _draw_differences(table, "without {}", width),
            caption=(
                "The difference that the verdict is on, the main-effect share of fine-tuning less "
                "that of the criterion for {label}, with each level left out in turn."
            ),
        ),
        Finding(
            name="verdict_by_dataset",
            compute=_by_dataset,
            table_caption=(
                "The verdict on each data set alone: main-effect shares, and fine-tuning less "
                "criterion."
            ),
            columns=(
                columns.text("metric", "metric"),
                columns.text("data set", "dataset"),
                *(columns.share(term_name(name), name) for name in PAIR),
                *columns.estimate("difference", "difference", columns.gap_of_percent),
                columns.text("larger", "winner"),
                columns.count("cells"),
                columns.count("seeds"),
            ),
        ),
        Finding(
            name="verdict_by_subset",
            compute=_by_subset,
            draw=_draw_subsets,
            caption="The same difference for {label} within each subset of the sweep.",
            table_caption=(
                "Shares of the variance of {label} within each subset; the interval is of the "
                "difference, fine-tuning minus criterion."
            ),
            folded=True,
            columns=(
                columns.text("factor", "factor"),
                columns.text("level", "level"),
                *(columns.share(term_name(name), name) for name in PAIR),
                columns.share("interaction", "interaction"),
                *columns.estimate("difference", "difference", columns.gap_of_percent),
                columns.text("larger", "winner"),
            ),
        ),
        Finding(
            name="decomposition_by_subset",
            compute=_decompositions,
        ),
        Finding(
            name="seed_spread",
            compute=_by_seed,
            draw=lambda spread, e, width: seed_figure(spread, metric_label(e.metric), width),
            caption=(
                "Mean {label} of every level at each seed; a grey line joins a seed's means, "
                "dashes are means over seeds."
            ),
        ),
    ),
)
