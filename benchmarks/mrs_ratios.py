"""What ratios from MRS add: every rule against uniform ratios, at equal parameters and equal MACs.

    python benchmarks/mrs_ratios.py digits STORAGE
    python benchmarks/mrs_ratios.py cifar10 STORAGE FOLDER   # real images, as Parquet

It runs sweeps/mrs.yaml, by MACs too, and the perturbation form with the spectral norm, into a
storage root: what is there already is not run again. Then it prints the differences to uniform
ratios, and the curve's to ERK and size, in points, paired by network, sparsity and seed, with 95 %
intervals over seeds. `table` for the data set prints what a root holds.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from scipy import stats

import results
from results.report.formats import markdown

SWEEP = Path(__file__).parents[1] / "sweeps" / "mrs.yaml"
BUDGETS = ("params", "macs")
CIFAR10 = {
    "seeds": 3,
    "dense": {"objective": "pgd", "epochs": 10, "lr": 0.1, "attack_steps": 3},
    "finetuning": {
        "none": {"epochs": 0},
        "pgd": {"objective": "pgd", "epochs": 3, "lr": 0.02, "attack_steps": 3},
    },
    "threat": {"norm": "linf", "eps": "8/255"},
}
"""What differs from the sweep on digits. A tenth of the training images is for validation."""
METRICS = ("pruned_clean", "pruned_pgd_20", "finetuned_clean", "finetuned_pgd_20")
SPECTRAL = "mrs-perturbation, spectral norm"
CELL = ["architecture", "sparsity", "seed"]


def sweeps(data: str, folder: str | None) -> list[dict[str, object]]:
    """Return the sweeps to run: by parameters, by MACs, and each with the spectral norm."""
    base = yaml.safe_load(SWEEP.read_text())
    base["evaluation"] = {"attacks": ["pgd-20"], "sanity_images": 0}
    if data == "cifar10":
        dataset = {"name": "cifar10", "root": folder, "source": "parquet"}
        base |= CIFAR10 | {"dataset": dataset | {"per_class": 1000, "test_per_class": 200}}
    found = []
    for budget in BUDGETS:
        found.append(base | {"name": f"mrs-{budget}", "budget": budget})
        spectral = {"allocations": ["mrs-perturbation"], "sensitivity": {"norm": "spectral"}}
        found.append(base | spectral | {"name": f"mrs-{budget}-spectral", "budget": budget})
    return found


def run(data: str, storage: Path, folder: str | None) -> None:
    """Run the sweeps, each in a process of its own; what is done already is not run again."""
    for sweep in sweeps(data, folder):
        file = storage / f"{sweep['name']}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(sweep, sort_keys=False))
        command = ["run", str(file), "--storage", str(storage), "--executor", "inline"]
        subprocess.run([sys.executable, "-m", "orchestrator", *command], check=True)


def table(storage: Path, budget: str) -> pd.DataFrame:
    """Return the mean difference of each rule to another, and its interval over seeds."""
    done = _trials(storage, budget)
    there = set(done["allocation"])
    rules = [*yaml.safe_load(SWEEP.read_text())["allocations"], SPECTRAL]
    pairs = [(rule, "uniform") for rule in rules if rule in there and rule != "uniform"]
    pairs += [("mrs-curve", control) for control in ("erk", "size") if control in there]
    rows = []
    for rule, other in pairs:
        one, base = (
            done[done["allocation"] == name].set_index(CELL)[list(METRICS)]
            for name in (rule, other)
        )
        points = 100 * (one - base).reindex(one.index)
        row: dict[str, object] = {"rule": rule, "less": other, "cells": len(points)}
        for metric in METRICS:
            by_seed = points[metric].dropna().groupby("seed").mean()
            half = stats.t.ppf(0.975, len(by_seed) - 1) * by_seed.std() / np.sqrt(len(by_seed))
            row[metric] = f"{by_seed.mean():+.1f} ± {half:.1f}" if len(by_seed) else ""
        after = points["finetuned_pgd_20"].dropna()
        row["wins"] = f"{int((after > 0).sum())} of {len(after)}" if len(after) else ""
        rows.append(row)
    return pd.DataFrame(rows)


def _trials(storage: Path, budget: str) -> pd.DataFrame:
    """Return a row for every rule, network, sparsity and seed; what was not fine-tuned is empty."""
    parts = []
    for spectral in ("", "-spectral"):
        name = f"mrs-{budget}{spectral}"
        if (storage / "sweeps" / name).exists():
            found = results.load(str(storage), sweep=name).trials
            parts.append(found.assign(allocation=SPECTRAL) if spectral else found)
    whole = pd.concat(parts, ignore_index=True)
    done = whole[whole["status"] == "done"].copy()
    after = [metric for metric in METRICS if metric.startswith("finetuned")]
    done.loc[done["finetuning"] == "none", after] = np.nan
    tuned_first = done.sort_values("finetuning", ascending=False)  # pgd, then none
    return tuned_first.drop_duplicates(["allocation", *CELL])


def main() -> None:
    data, storage = sys.argv[1], Path(sys.argv[2])
    if data != "table":
        run(data, storage, sys.argv[3] if len(sys.argv) > 3 else None)
    for budget in BUDGETS:
        print(f"### equal {budget}\n\n{markdown(table(storage, budget))}\n")


if __name__ == "__main__":
    main()
