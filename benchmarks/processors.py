"""What holds across processors: a sweep computed with the instructions of others.

    python benchmarks/processors.py

PyTorch chooses its kernels, and oneDNN its own, by the instructions that a processor has;
``ATEN_CPU_CAPABILITY`` and ``ONEDNN_MAX_CPU_ISA`` make them choose as on an older one. Compared
with the processor's own: the losses of epochs, accuracies of trials, outcomes of test images.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

from results import load, outcomes

SWEEP = """
name: processors
dataset: {name: digits, per_class: 60}
architectures: [resnet8, vgg8]
criteria: [l1, taylor]
sparsities: [0.5]
allocations: [uniform, mrs]
finetuning: {none: {epochs: 0}, pgd: {objective: pgd, epochs: 2, lr: 0.05, attack_steps: 3}}
seeds: 2
dense: {objective: pgd, epochs: 4, lr: 0.05, attack_steps: 3}
threat: {eps: 0.15}
evaluation: {attacks: [fgsm, pgd-10], sanity_images: 0}
"""
OWN = "the processor's own"
KINDS: dict[str, dict[str, str]] = {
    OWN: {},
    "the same again": {},
    "PyTorch as with AVX2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "PyTorch without vectors": {"ATEN_CPU_CAPABILITY": "default"},
    "oneDNN as with AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "oneDNN as with SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "both as with AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
}


def run(file: Path, root: Path, instructions: dict[str, str]) -> None:
    """Run the sweep in a process of its own."""
    command = [sys.executable, "-m", "orchestrator", "run", str(file), "--storage", str(root)]
    command += ["--executor", "inline", "--device", "cpu"]
    environment = {**os.environ, **instructions}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def apart(root: Path, reference: Path) -> str:
    """Return how far two runs of the sweep lie apart, as cells of a row."""
    mine, theirs = (load(str(each)) for each in (root, reference))
    keys = ["network", "epoch"]
    both = mine.epochs.merge(theirs.epochs, on=keys, suffixes=("", "_too"))
    first_epochs = both[(both["epoch"] == 1) & (both["stage"] == "dense")]
    losses = [float((part["loss"] - part["loss_too"]).abs().max()) for part in (first_epochs, both)]
    trials = mine.trials.set_index("trial_id").sort_index()
    others = theirs.trials.set_index("trial_id").loc[trials.index]
    metrics = [name for name in trials if str(name).startswith(("dense_", "pruned_", "finetuned_"))]
    metrics = [name for name in metrics if pd.api.types.is_float_dtype(trials[name])]
    off = (trials[metrics] - others[metrics]).abs().to_numpy()
    cut = int((trials["kept_units"] != others["kept_units"]).sum())
    seen = outcomes(mine).merge(outcomes(theirs), on=["trial_id", "attack", "image"])
    flipped = float((seen["correct_x"] != seen["correct_y"]).mean())
    means = float((trials[metrics] - others[metrics]).mean().abs().max())
    same = sum(bool((row == 0).all()) for row in off)
    return (
        f"{same} of {len(trials)} | {losses[0]:.1e} | {losses[1]:.1e} | {cut} | "
        f"{100 * off.max():.1f} | {100 * means:.2f} | {100 * flipped:.2f}"
    )


def main() -> None:
    print("| instructions | trials equal to the bit | first epoch's loss, apart | any epoch's | "
          "pruned otherwise | accuracy, points: most | of means | outcomes, % |")  # fmt: skip
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "processors.yaml")
        file.write_text(SWEEP)
        for name, instructions in KINDS.items():
            root = Path(scratch, name.replace(" ", "-"))
            run(file, root, instructions)
            if name != OWN:
                print(f"| {name} | {apart(root, Path(scratch, OWN.replace(' ', '-')))} |")


if __name__ == "__main__":
    main()
