"""Rows say where they come from, and a report says so where machines are of several kinds."""

from __future__ import annotations

import pandas as pd

from orchestrator.worker.provenance import provenance
from results.report.judged import kinds_of_machines
from results.tables.schema import TABLES


def test_a_row_names_code_libraries_and_processor() -> None:
    row = provenance("cpu")
    assert set(row) <= {column.name for column in TABLES["trials"]}
    assert all(row[name] for name in ("torch", "torchvision", "timm", "torch_pruning", "processor"))
    assert row["accelerator"] is None


def test_several_kinds_of_processor_are_a_caveat() -> None:
    alike = pd.DataFrame({"processor": ["A", "A", None], "accelerator": [None] * 3})
    assert list(kinds_of_machines(alike)) == []
    (said,) = kinds_of_machines(alike.assign(processor=["A", "B", "B"]))
    assert (
        said == "Several kinds of processor, which round differently: A (1 trials), B (2 trials)."
    )
