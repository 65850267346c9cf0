"""Export in the form of the adversarial pruning benchmark (Piras et al., 2024, arXiv 2409.01249).

Its tables have a method's clean and AutoAttack accuracy by network, structure and sparsity.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from results.errors import AnalysisError

DATASETS, EPS = ("cifar10", "svhn"), 8 / 255
COLUMNS = ("dataset", "architecture", "sparsity", "allocation", "granularity", "criterion",
           "dense", "finetuning")  # fmt: skip


def benchmark_table(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the benchmark's rows, a row a cell, accuracies in points as means over seeds.

    ``method`` (criterion, allocation and fine-tuning), ``dataset``, ``architecture``,
    ``structure`` (Structured or Unstructured), ``sparsity`` (percent asked), ``removed`` (percent
    of the budget achieved), ``clean``, ``autoattack``, their standard deviations over ``seeds``.

    Raises:
        AnalysisError: with everything that keeps the trials from being comparable there.
    """
    done = trials[trials["status"] == "done"]
    faults = []
    if done.empty:
        faults.append("no trial is done")
    if "finetuned_autoattack" not in done or done["finetuned_autoattack"].isna().any():
        faults.append("every network needs autoattack among evaluation.attacks")
    if others := sorted(set(done["dataset"]) - set(DATASETS)):
        faults.append(f"data set {', '.join(others)}; it takes {' and '.join(DATASETS)}")
    if not ((done["norm"] == "linf") & ((done["eps"] - EPS).abs() < 5e-4)).all():
        faults.append("the threat must be linf with eps 8/255")
    if faults:
        raise AnalysisError(f"not a submission to the benchmark: {'; '.join(faults)}")
    removed = done["budget"].map(lambda name: f"{name}_removed")
    achieved = [row[name] for name, (_, row) in zip(removed, done.iterrows(), strict=True)]
    cells = done.assign(removed=achieved).groupby(list(COLUMNS), sort=True)
    rows = [
        {
            "method": f"{cell['criterion']} + {cell['allocation']} + {cell['finetuning']}",
            "dataset": cell["dataset"],
            "architecture": cell["architecture"],
            "structure": "Structured" if cell["granularity"] == "channel" else "Unstructured",
            "sparsity": 100 * cell["sparsity"],
            "removed": 100 * part["removed"].mean(),
            "clean": 100 * part["finetuned_clean"].mean(),
            "autoattack": 100 * part["finetuned_autoattack"].mean(),
            "clean_sd": 100 * part["finetuned_clean"].std(),
            "autoattack_sd": 100 * part["finetuned_autoattack"].std(),
            "seeds": len(part),
        }
        for levels, part in cells
        for cell in [_cell(levels)]
    ]
    return pd.DataFrame(rows).round(2)


def _cell(levels: Any) -> dict[str, Any]:
    return dict(zip(COLUMNS, levels, strict=True))
