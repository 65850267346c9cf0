"""How long commands take to start, against an empty Python: no torch, no ray.

Run: python benchmarks/startup.py
"""

from __future__ import annotations

import os
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
    "what a worker imports": "import orchestrator.worker.materialize",
    "torch with a first optimizer, and pandas": (
        "import pandas, torch; torch.optim.SGD([torch.zeros(1)])"
    ),
}


def measured(what: str) -> tuple[float, float, float]:
    """Return the median wall time and CPU time of a fresh process, in s, and its peak, in MB."""
    command = [sys.executable, "-m", "orchestrator", *what.split()]
    if what.startswith(("pass", "import")):
        command = [sys.executable, "-c", what]
    times, cpu, peaks = [], [], []
    for _ in range(REPEATS):
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        times.append(time.perf_counter() - start)
        cpu.append(usage.ru_utime + usage.ru_stime)
        peaks.append(usage.ru_maxrss / 1024)
    return statistics.median(times), statistics.median(cpu), max(peaks)


def main() -> None:
    """Print the table."""
    print(f"| what | wall time, median of {REPEATS}, s | CPU, s | peak, MB |")
    print("| --- | --- | --- | --- |")
    for name, what in STATEMENTS.items():
        wall, cpu, peak = measured(what)
        print(f"| `{name}` | {wall:.2f} | {cpu:.2f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
