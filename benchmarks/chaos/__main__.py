"""Faults made to happen, on a Ray cluster of several nodes on this machine, and what they leave.

    python benchmarks/chaos [FAULT ...]

Every fault strikes a sweep of 24 trials (45 jobs) at work; then the same command is given until
all is done. The table ``trials`` must equal an undisturbed run's, bit for bit, but for times: no
row lost, none doubled, no finished job run again. The faults of a store need the right to mount.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

import pandas as pd
from ground import HANGS, SWEEP, Cluster, Ground
from strikes import FAULTS

MEASURED = ["finetune_seconds", "evaluate_seconds", "node", "finished"]
DRIVER_KILLS = 20
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


def strike(name: str, on: Ground, kills: int) -> int:
    """Let a fault happen, again and again on one root where it is a killed driver."""
    if name != "driver killed":
        return FAULTS[name](on)
    strikes = 0
    while on.rows() < 24 and strikes < kills:
        strikes += FAULTS[name](on)
    return strikes


def main() -> None:
    chosen = sys.argv[1:] or list(FAULTS)
    random.seed(0)
    print("| fault | strikes | launches | rows lost | rows doubled | jobs repeated |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        base = Path(scratch)
        (base / "hangs.py").write_text(HANGS)
        (base / "hung").write_text("")
        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        references = {}
        for criterion in ("taylor", "hangs:once"):
            file = base / f"{criterion.partition(':')[0]}.yaml"
            file.write_text(SWEEP.replace("CRITERION", f"'{criterion}'"))
            references[criterion] = Ground(base / f"undisturbed-{file.stem}", file, cluster, base)
            if criterion == "taylor" or "hung job" in chosen:
                references[criterion].finish()
        for name in chosen:
            left = DRIVER_KILLS if name == "driver killed" else 1
            total = [0, 0, 0, 0, 0]
            while left > 0:
                like = references["hangs:once" if name == "hung job" else "taylor"]
                root = base / f"{name}-{left}".replace(" ", "-")
                on = Ground(root, like.file, cluster, base)
                strikes = strike(name, on, left)
                on.finish()
                left -= strikes if name == "driver killed" else 1
                counts = [strikes, on.launches, *compare(root, like.root)]
                total = [a + b for a, b in zip(total, counts, strict=True)]
            note = " (of what was destroyed)" if name in LOSES_WHAT_WAS_DONE else ""
            print(f"| {name} | {' | '.join(map(str, total))}{note} |", flush=True)
        cluster.shutdown()


if __name__ == "__main__":
    main()
