"""The tables at scale: small files read and compacted beside a writer, a million rows.

Run: python benchmarks/tables.py [FILES]
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

import results
from orchestrator.state.upkeep import fold_all
from results.tables.file import packed
from results.tables.log import arrow
from results.tables.schema import arrow_schema
from results.tables.storage import Storage
from results.tables.store import Tables

FILES = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
ROWS = 1_000_000
BESIDE = 2_000
"""Rows that another process writes while the table is compacted."""


def row(number: int) -> dict[str, object]:
    """Return a trial's row."""
    return {
        "trial_id": f"{number:020d}", "status": "done", "dataset": "digits",
        "architecture": f"net{number % 4}", "criterion": f"c{number % 10}", "sparsity": 0.5,
        "finetuning": f"f{number % 7}", "seed": number % 5, "finetuned_network": f"n{number}",
        "finetuned_clean": 0.5, "finetuned_pgd_20": number % 1000 / 1000,
    }  # fmt: skip


def write(root: str, numbers: range) -> None:
    """Write rows as mrsweep 1 did, a file each."""
    storage = Storage(root)
    for number in numbers:
        storage.write(
            packed(arrow("trials", [row(number)])), "tables", "trials", f"{number:020d}.parquet"
        )


def commit(root: str, numbers: range) -> None:
    """Write rows, a commit each."""
    for number in numbers:
        tables = Tables(Storage(root))
        tables.write("trials", [row(number)])
        tables.commit()


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long something took."""
    began = time.perf_counter()
    yield
    print(f"| {what} | {time.perf_counter() - began:.1f} s |", flush=True)


def small_files(root: str) -> None:
    """Write, read and join many small files."""
    with timed(f"{FILES:,} files of mrsweep 1 written by one process"):
        write(root, range(FILES))
    tables = Tables(Storage(root))
    with timed("three of their columns"):
        tables.read("trials", ["trial_id", "status", "seed"])
    beside = multiprocessing.Process(target=commit, args=(root, range(FILES, FILES + BESIDE)))
    beside.start()
    with timed(f"joined, while another process commits {BESIDE:,} more rows"):
        fold_all(Storage(root))
    beside.join()
    fold_all(Storage(root))
    left = len(Storage(root).names("tables", "trials"))
    rows = tables.read("trials", ["trial_id"])["trial_id"]
    lost, doubled = FILES + BESIDE - rows.nunique(), int(rows.duplicated().sum())
    print(f"| files left; rows lost; rows doubled | {left:,}; {lost}; {doubled} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"| most memory | {peak:.1f} GB |")
    with timed("three columns of the joined table"):
        tables.read("trials", ["trial_id", "status", "seed"])


def million_rows(root: str) -> None:
    """Load a table of a million rows: some columns, and whole."""
    plain = pa.Table.from_pylist([row(number) for number in range(1000)])
    many = pa.concat_tables([plain] * (ROWS // 1000))
    names = [f"{number:020d}" for number in np.random.default_rng(0).permutation(ROWS)]
    many = many.set_column(0, "trial_id", pa.array(names))
    schema = arrow_schema("trials", ["finetuned_clean", "finetuned_pgd_20"])
    for field in schema:
        if field.name not in many.column_names:
            many = many.append_column(field, pa.nulls(len(many), field.type))
    data = packed(many.select(schema.names).cast(schema).sort_by("trial_id"))
    Storage(root).write(data, "tables", "trials", "000001.parquet")
    with timed(f"results.load of {ROWS:,} rows, nothing read yet"):
        loaded = results.load(root)
    with timed("four of its columns"):
        loaded.read("trials", ["criterion", "finetuning", "seed", "finetuned_pgd_20"])
    with timed(f"all {len(schema.names)} columns"):
        _ = loaded.trials
    with timed("one row found"):
        Tables(Storage(root)).find("trials", names[0])


def main() -> None:
    """Print the table."""
    print("| what | measured |\n| --- | --- |")
    for part in (small_files, million_rows):
        with tempfile.TemporaryDirectory() as root:
            part(str(Path(root)))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
