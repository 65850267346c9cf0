"""A tiny sweep with a method of the user's own, its bundle, and copies of that with faults."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import results
from orchestrator.cli.rerun import contents
from orchestrator.planning.sources import forget

from command import Ended, mrsweep

OWN = '''
from half import halved
from mrsweep import method

@method("mine", needs=(), files=("scale.txt",))
def mine(layer):
    """Half the sum of absolute weights."""
    return halved(layer.weight.abs().flatten(1).sum(1))
'''
OWN_TINY = {
    "dataset": "{name: digits, per_class: 24, test_per_class: 6}",
    "criteria": '[l1, "owned:mine"]',
    "finetuning": "{none: {epochs: 0}, short: {epochs: 1, lr: 0.05, batch_size: 16}}",
    "seeds": "3",
    "dense": "{objective: standard, epochs: 2, batch_size: 16, lr: 0.1}",
}


def forget_own() -> None:
    """What a new process does not know of the method."""
    forget()
    for name in ("owned", "half"):
        sys.modules.pop(name, None)


def own_method(folder: Path) -> None:
    """The method, the module that it imports, and the file that it reads."""
    (folder / "owned.py").write_text(OWN)
    (folder / "half.py").write_text("def halved(x):\n    return x / 2\n")
    (folder / "scale.txt").write_text("2\n")


def bundle(to: Path, *words: str) -> Ended:
    return mrsweep("bundle", "tiny.yaml", "--to", to, *words)


def other_way(made: Path, to: Path, path: str, data: bytes, judged: bool = False) -> Path:
    """A copy of a bundle with a file changed, and its digest too: nothing but numbers tell."""
    shutil.copytree(made, to)
    (to / path).write_bytes(data)
    record = json.loads((to / "bundle.json").read_text())
    record["files"][path] = hashlib.sha256(data).hexdigest()
    record["verdicts"] = record["verdicts"] if judged else {}
    (to / "bundle.json").write_text(json.dumps(record))
    return to


def with_trials(made: Path, to: Path, key: str, judged: bool = False, **changes: object) -> Path:
    """A copy of a bundle in which a trial's row says something else."""
    rows = pq.read_table(made / "tables" / "trials" / contents.TABLE)
    at = rows["trial_id"].to_pylist().index(key)
    for name, value in changes.items():
        values = rows[name].to_pylist()
        values[at] = value if isinstance(value, str) else values[at] + value
        column = pa.array(values, rows.schema.field(name).type)
        rows = rows.set_column(rows.column_names.index(name), rows.schema.field(name), column)
    return other_way(made, to, f"tables/trials/{contents.TABLE}", contents.packed(rows), judged)


def trial(made: Path, criterion: str = "l1") -> str:
    trials = results.load(str(made), sweep="tiny").trials
    return trials.loc[trials["criterion"] == criterion, "trial_id"].iloc[0]


def reproduce(path: Path, *words: str) -> Ended:
    return mrsweep("reproduce", path, "--device", "cpu", *words)
