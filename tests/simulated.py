"""Loaded tables of a sweep that never ran: known effects, checks, modules, outcomes by image."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from results.tables.load import Loaded
from results.tables.storage import Storage

FACTORS = {
    "architecture": ("resnet8", "vgg8"),
    "criterion": ("l1", "lamp", "random"),
    "sparsity": (0.5, 0.8),
    "allocation": ("mrs", "uniform"),
    "finetuning": ("none", "standard", "pgd"),
}
EFFECTS = {"none": -0.1, "standard": 0.0, "pgd": 0.1, "l1": 0.03, "lamp": 0.0, "random": -0.02,
           0.5: 0.05, 0.8: -0.05, "mrs": 0.01}  # fmt: skip
IMAGES = 200


def simulated(seeds: int = 3, root: str = "memory://simulated") -> Loaded:
    """Return the tables; outcomes by image add up to the trials' accuracies."""
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 0.15, IMAGES)  # the same images are hard for all networks
    rows, evaluations = [], []
    for seed in range(seeds):
        shift = rng.normal(0, 0.01)
        for levels in itertools.product(*FACTORS.values()):
            cell = dict(zip(FACTORS, levels, strict=True))
            name = "-".join(map(str, (*levels, seed)))
            row = {**cell, "trial_id": name, "status": "done", "error": None, "dataset": "digits",
                   "dense": "dense", "granularity": "channel", "budget": "params", "seed": seed,
                   "objective": cell["finetuning"], "flags": None, "shortfall": None,
                   "kept_units": None, "dense_network": f"d-{levels[0]}-{seed}",
                   "policy": "none" if cell["finetuning"] == "none" else "finetune",
                   "epochs": 0 if cell["finetuning"] == "none" else 3, "lr": 0.01,
                   "rounds": int(cell["finetuning"] != "none"),
                   "params_removed": cell["sparsity"], "finetuned_network": f"f-{name}",
                   "params": round(5e4 * (1 - cell["sparsity"])),
                   "macs": round(5e5 * (1 - cell["sparsity"])),
                   "pruned_network": "p-" + name.replace(f"-{levels[-1]}-", "-")}  # fmt: skip
            mean = 0.5 + shift + sum(EFFECTS.get(level, 0.0) for level in levels)
            before = mean - 0.3 - EFFECTS[cell["finetuning"]]
            for attack, drop in (("clean", 0.0), ("pgd-20", 0.2)):
                column = attack.replace("-", "_")
                right = rng.random(IMAGES) < mean - drop + hard
                row |= {f"finetuned_{column}": right.mean(), f"pruned_{column}": before - drop / 9}
                evaluations.append({
                    "network": row["finetuned_network"], "attack": attack, "count": IMAGES,
                    "norm": None if attack == "clean" else "linf",
                    "outcomes": np.packbits(right).tobytes(),
                })  # fmt: skip
            rows.append(row)
    trials = pd.DataFrame(rows)
    loaded = Loaded(Storage(root), None)
    checks = pd.DataFrame({
        "network": trials["finetuned_network"], "check": "iterated", "stronger": "pgd-10",
        "weaker": "fgsm", "passed": True, "against": 2,
        "attacked": 20, "images": 100,
    })  # fmt: skip
    modules = pd.DataFrame([
        {"network": network, "module": f"conv{i}", "position": i, "mrs": 0.1 * (i + 1),
         "ratio": 0.4 + 0.1 * i, "width_before": 16, "width_after": 16 * (0.6 - 0.1 * i),
         "kept": np.packbits(rng.random(16) < 0.6 - 0.1 * i).tobytes()}
        for network in trials["pruned_network"].unique() for i in range(3)
    ])  # fmt: skip
    # What is read when it is first asked for is there already.
    loaded.__dict__.update(
        trials=trials, evaluations=pd.DataFrame(evaluations), checks=checks, modules=modules
    )
    return loaded


def crossed() -> Loaded:
    """Return the tables of nine fine-tunings, every objective under every policy, and of none."""
    loaded = simulated()
    trials = loaded.trials[loaded.trials["allocation"] == "uniform"]
    rng = np.random.default_rng(7)
    tables = [trials[trials["finetuning"] == "none"]]
    for objective, gain in (("standard", -0.1), ("pgd", 0.05), ("trades", 0.08)):
        for policy, more in (("finetune", 0.0), ("lr-rewind", 0.02), ("scratch", -0.05)):
            table = trials[trials["finetuning"] == "pgd"].assign(
                finetuning=f"{objective}-{policy}", objective=objective, policy=policy
            )
            for metric in ("finetuned_clean", "finetuned_pgd_20"):
                table[metric] += gain + more + rng.normal(0, 0.01, len(table))
            tables.append(table)
    loaded.__dict__["trials"] = pd.concat(tables, ignore_index=True)
    return loaded
