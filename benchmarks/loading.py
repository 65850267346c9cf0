"""What a data set costs a process once this machine has decoded it: time, and memory of its own.

    python benchmarks/loading.py cifar10 FOLDER   # FOLDER holds it as Parquet

Two processes load it, one after the other; the second finds it decoded. Beside it stands the same
with every part copied, as one that keeps arrays of its own would have it.
"""

from __future__ import annotations

import resource
import subprocess
import sys

COPY = "--copy"


def used() -> tuple[float, float]:
    """Return this process's CPU seconds and its peak, in MB."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def load(name: str, root: str, copied: bool) -> None:
    """Load it; print what that took beyond the imports, and the size of the pixels."""
    import pyarrow.dataset  # noqa: F401  # reading Parquet imports it, and pandas with it
    import torch

    from prune_core.data import datasets
    from prune_core.specs.settings import Dataset

    seconds, peak = used()
    data = datasets.load(Dataset(name=name, root=root, source="parquet"), torch.device("cpu"))
    parts = (data.train, data.validation, data.test)
    held = [part.images.clone() for part in parts] if copied else []
    after, top = used()
    size = sum(len(part) for part in parts) * data.train.pixels[0].numel() / 2**20
    what = "every part copied" if held else "as it is"
    print(f"| {what} | {after - seconds:.2f} | {top - peak:.0f} | {(top - peak) / size:.2f} |")


def main() -> None:
    """Print the table; each row is a process of its own."""
    name, root, *options = sys.argv[1:]
    if "--one" in options:
        load(name, root, COPY in options)
        return
    print("| | CPU, s | memory, MB | times the pixels |\n| --- | --- | --- | --- |", flush=True)
    command = [sys.executable, __file__, name, root, "--one"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for extra in ([], [COPY]):
        subprocess.run([*command, *extra], check=True)


if __name__ == "__main__":
    main()
