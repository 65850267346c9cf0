"""How long commands take to start, against an empty Python: no torch, no ray.

Run: python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
REPEATS = 5
STATEMENTS = {
    "python -c pass": "pass",
    "mrsweep --help": "--help",
    "mrsweep plan sweeps/demo.yaml": "plan sweeps/demo.yaml --storage /nonexistent",
    "mrsweep report --help": "report --help",
    "import results": "import results",
    "import mrsweep": "import mrsweep",
    "import torch, ray (not loaded by any of these)": "import torch, ray",
}


def seconds(what: str) -> float:
    """Return the median wall time of a fresh process."""
    command = [sys.executable, "-m", "orchestrator", *what.split()]
    if what.startswith(("pass", "import")):
        command = [sys.executable, "-c", what]
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Print the table."""
    print(f"| what | median of {REPEATS}, s | times an empty Python |\n| --- | --- | --- |")
    base = seconds("pass")
    for name, what in STATEMENTS.items():
        took = seconds(what)
        print(f"| `{name}` | {took:.2f} | {took / base:.0f} |")


if __name__ == "__main__":
    main()
