"""Sweeps side by side: what each one's verdicts say."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from results.report import columns
from results.report.finding import by_metric, verdict_row
from results.report.summary import Summary
from results.statistics.design.words import term_name
from results.statistics.shares.comparison import PAIR

CAPTION = "Main-effect shares, and fine-tuning less criterion, sweep by sweep."
NONE = "None of these sweeps carries a verdict to set beside another's."
COLUMNS = (
    columns.text("metric", "metric"),
    columns.text("sweep", "sweep"),
    columns.text("data set", "dataset"),
    *(columns.share(term_name(name), name) for name in PAIR),
    *columns.estimate("difference", "difference", columns.gap_of_percent),
    columns.text("larger", "winner"),
    columns.count("cells"),
    columns.count("seeds"),
)


def compared_verdicts(sweeps: Sequence[tuple[str, Summary]]) -> pd.DataFrame:
    """Return the verdicts of several sweeps, metric by metric, a row a sweep and metric.

    ``sweep``, ``dataset``, ``metric``, ``winner``, ``difference`` with ``low`` and ``high``, the
    shares ``finetuning`` and ``criterion``, ``interaction``, ``cells``, ``seeds``.
    """
    return by_metric(
        [
            {"sweep": title, "dataset": summary.dataset, **verdict_row(verdict)}
            for title, summary in sweeps
            for verdict in summary.verdicts
        ]
    )
