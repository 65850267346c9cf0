"""Sweeps side by side: what each one's verdicts say."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from results.report.summary import Summary
from results.tables.schema import metric_label


def compared_verdicts(sweeps: Sequence[tuple[str, Summary]]) -> pd.DataFrame:
    """Return the verdicts of several sweeps, metric by metric, a row a sweep and metric.

    ``sweep``, ``dataset``, ``metric``, ``winner``, ``difference`` with ``low`` and ``high``, the
    shares ``finetuning`` and ``criterion``, ``interaction``, ``cells``, ``seeds``.
    """
    rows = [
        {
            "sweep": title,
            "dataset": summary.dataset,
            "metric": metric_label(found.metric),
            "winner": found.winner,
            "difference": found.difference,
            "low": found.low,
            "high": found.high,
            "finetuning": found.shares["finetuning"][0],
            "criterion": found.shares["criterion"][0],
            "interaction": found.interaction,
            "cells": found.cells,
            "seeds": found.seeds,
        }
        for title, summary in sweeps
        for found in summary.verdicts
    ]
    columns = ["sweep", "dataset", "metric", "winner", "difference", "low", "high", "finetuning",
               "criterion", "interaction", "cells", "seeds"]  # fmt: skip
    order = {metric: i for i, metric in enumerate(dict.fromkeys(row["metric"] for row in rows))}
    return pd.DataFrame(rows, columns=columns).sort_values(
        "metric", key=lambda column: column.map(order), kind="stable", ignore_index=True
    )
