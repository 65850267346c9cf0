"""Faults made to happen, on a Ray cluster of several nodes on this machine, and what they leave.

    python benchmarks/chaos [--inline] [FAULT ...]     # "driver killed=5": that often

Every fault strikes a sweep of 24 trials at work; then the same command is given until all is done.
The table ``trials`` must equal an undisturbed run's, bit for bit, but for times: no row lost, none
doubled, no finished job run again. Faults of a store, and of images, need the right to mount. With
``--inline`` drivers do the jobs themselves, for faults that take no cluster: that costs less.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
from asked import TRIALS, write_sweeps
from ground import Ground
from nodes import one_more, two_nodes
from strikes import AGAIN, FAULTS, SWEEPS

MEASURED = ["finetune_seconds", "evaluate_seconds", "node", "finished"]
LOSES_WHAT_WAS_DONE = ("artifacts truncated, bytes flipped", "table files damaged")
"""Faults that destroy what jobs had done: these have to run again."""


def trials(root: Path) -> pd.DataFrame:
    frame = pd.read_parquet(root / "tables" / "trials").sort_values("trial_id")
    return frame.drop(columns=MEASURED).reset_index(drop=True)


def compare(root: Path, reference: Path) -> tuple[int, int, int]:
    """Return rows lost (or other than they were), rows doubled, jobs repeated."""
    found, wanted = trials(root), trials(reference)
    doubled = int(found["trial_id"].duplicated().sum())
    once = found.drop_duplicates("trial_id").set_index("trial_id")
    lost = 0
    for row in wanted.set_index("trial_id").itertuples():
        same = row.Index in once.index and once.loc[row.Index].equals(
            wanted.set_index("trial_id").loc[row.Index]
        )
        lost += not same
    jobs = pd.read_parquet(root / "tables" / "jobs")
    done = jobs[jobs["status"] == "done"]
    return lost, doubled, int(done["key"].duplicated().sum())


def strike(name: str, on: Ground, most: int) -> int:
    """Let a fault happen, again and again on one root where it comes at random moments."""
    if name not in AGAIN:
        return FAULTS[name](on)
    strikes = 0
    while on.rows() < TRIALS and strikes < most:
        strikes += FAULTS[name](on)
    return strikes


def row(name: str, most: int, on: Ground, reference: Ground) -> str:
    """Let a fault happen so often, on roots of its own, and return what came of it."""
    total, notes, left, number = [0, 0, 0, 0, 0], list[str](), most, 0
    while left > 0:
        here = replace(on, root=on.root / str(number), launches=0, notes=[])
        strikes = strike(name, here, left)
        here.finish()
        counts = [strikes, here.launches, *compare(here.root, reference.root)]
        total = [a + b for a, b in zip(total, counts, strict=True)]
        notes += here.notes
        left, number = left - (strikes if name in AGAIN else 1), number + 1
    notes += ["of what was destroyed"] if name in LOSES_WHAT_WAS_DONE else []
    note = f" ({'; '.join(notes)})" if notes else ""
    return f"| {name} | {' | '.join(map(str, total))}{note} |"


def main() -> None:
    inline, chosen = "--inline" in sys.argv, [name for name in sys.argv[1:] if name != "--inline"]
    if strange := [name for name in chosen if name.partition("=")[0] not in FAULTS]:
        raise SystemExit(f"no such fault: {', '.join(strange)}; there are: {', '.join(FAULTS)}")
    random.seed(0)
    print("| fault | strikes | launches | rows lost | rows doubled | jobs repeated |")
    print("| --- | --- | --- | --- | --- | --- |")
    references: dict[str, Ground] = {}
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        base = Path(scratch)
        (base / "decoded").mkdir()
        os.environ["MRSWEEP_CACHE"] = str(base / "decoded")
        files = write_sweeps(base)
        cluster, wrong = two_nodes(), False
        for number, asked in enumerate(chosen or FAULTS):
            name, _, times = asked.partition("=")
            sweep = SWEEPS.get(name, "usual")
            on = Ground(base / f"struck-{number}", files[sweep], cluster, base, inline)
            try:
                if sweep not in references:
                    like = replace(on, root=base / f"undisturbed-{sweep}")
                    with one_more(like, 2) if sweep == "uneven" else contextlib.nullcontext():
                        like.finish()
                    references[sweep] = like
                most = int(times or AGAIN.get(name, 1))
                print(row(name, most, on, references[sweep]), flush=True)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                wrong = True
                print(f"{name}: {error}", flush=True)
                on.end()
        cluster.shutdown()
    raise SystemExit(wrong)


if __name__ == "__main__":
    main()
