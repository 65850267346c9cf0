"""What the checks against false robustness take of a trial, in CPU time.

    python benchmarks/checks.py                   # the demo's trials, on digits
    python benchmarks/checks.py cifar10 FOLDER    # 10,000 images of CIFAR-10, as Parquet

A sweep is run in this process; its trials and their checks are timed.
"""

from __future__ import annotations

import functools
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from orchestrator.cli.main import app
from orchestrator.worker import job
from prune_core.attacks import sanity

DEMO = Path(__file__).parents[1] / "sweeps" / "demo.yaml"
PART = {"architectures": ["resnet8"], "sparsities": [0.7], "allocations": ["uniform"], "seeds": 1}
CIFAR10 = {
    "criteria": ["l1", "taylor"],
    "finetuning": {
        "none": {"epochs": 0},
        "pgd": {"objective": "pgd", "epochs": 3, "lr": 0.02, "attack_steps": 3},
    },
    "dense": {"objective": "pgd", "epochs": 2, "lr": 0.1, "attack_steps": 3},
    "threat": {"norm": "linf", "eps": "8/255"},
    "evaluation": {"attacks": ["pgd-20"], "sanity_images": 64},
}


def timed(module: Any, name: str, spent: Counter[str]) -> None:
    """Have a function's CPU seconds added up."""
    plain = getattr(module, name)

    @functools.wraps(plain)
    def timed(*args: Any, **named: Any) -> Any:
        began = time.process_time()
        try:
            return plain(*args, **named)
        finally:
            spent[name] += time.process_time() - began

    setattr(module, name, timed)


def main() -> None:
    """Run a sweep, and print what its trials and their checks took."""
    sweep = yaml.safe_load(DEMO.read_text()) | PART
    if sys.argv[1:2] == ["cifar10"]:
        dataset = {"name": "cifar10", "root": sys.argv[2], "source": "parquet"}
        sweep |= CIFAR10 | {"dataset": dataset | {"per_class": 1000, "test_per_class": 200}}
    spent: Counter[str] = Counter()
    timed(job, "_trial", spent)
    timed(sanity, "check", spent)
    with tempfile.TemporaryDirectory() as root:
        file = Path(root) / "sweep.yaml"
        file.write_text(yaml.safe_dump(sweep))
        command = ["run", str(file), "--storage", root, "--executor", "inline", "--device", "cpu"]
        app(command, standalone_mode=False)
    checked = spent["check"] / spent["_trial"]
    print(f"trials {spent['_trial']:.1f} CPU s, their checks {spent['check']:.1f}: {checked:.1%}")


if __name__ == "__main__":
    main()
