"""A file for the adversarial pruning benchmark, read and attacked by the benchmark's own code.

    python benchmarks/boards.py FOLDER [IMAGES]

FOLDER holds clones of pralab/AdversarialPruningBenchmark and fra31/auto-attack, and ``cifar10``, a
folder of Parquet files. A VGG-16 is trained for a minute, pruned by weight and by channel, and
written as `mrsweep export --format apb` writes it. Their base model loads the file strictly, and
their `utils/test.py` attacks it by their AutoAttack, on IMAGES (16) of the test images that the
rows are of: all 10,000 take hours on a CPU.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import torch
import torchvision
from torch import nn
from torch.utils.data import TensorDataset

from orchestrator.worker.networks import export_for_benchmark, load_network, trial_of
from prune_core.attacks.evaluation import evaluate
from prune_core.data import datasets
from prune_core.models.state import seeded
from prune_core.specs.stages import Evaluation
from results.tables.storage import Storage
from results.tables.store import Tables

SWEEP = """
name: boards
dataset: {{name: cifar10, root: {root}, source: parquet, per_class: 60, test_per_class: {images}}}
architectures: [apb-vgg16]
criteria: [l1]
sparsities: [0.9]
granularities: [weight, channel]
allocations: [uniform]
finetuning: {{standard: {{objective: standard, epochs: 2, lr: 0.02, batch_size: 32}}}}
seeds: 1
dense: {{objective: standard, epochs: 4, lr: 0.02, batch_size: 32, normalise: none}}
threat: {{norm: linf, eps: 0.031}}
evaluation: {{attacks: [fgsm], sanity_images: 0}}
keep: [dense, prune, finetune]
"""
KEY = "AP_Me2026Title_V16_CIFAR10"
CPU = torch.device("cpu")


def theirs(folder: Path) -> tuple[Callable[[], nn.Module], ModuleType]:
    """Return their base VGG-16 and their test; HO-FMN, which it imports, is not asked for."""
    sys.path[:0] = [str(folder / "AdversarialPruningBenchmark"), str(folder / "auto-attack")]
    for name in ("fmn", "ho_fmn.ho_fmn"):
        module = ModuleType(f"HOFMN.src.{name}")
        module.FMN = module.HOFMN = None  # type: ignore[attr-defined]  # only to be imported
        sys.modules[module.__name__.replace("src.fmn", "src.attacks.fmn")] = module
    from models.base_vgg16 import vgg16_bn
    from utils import test

    return vgg16_bn, test


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(str(__doc__))
    folder, images = Path(sys.argv[1]).absolute(), int((sys.argv[2:] or ["16"])[0])
    base, test = theirs(folder)
    with tempfile.TemporaryDirectory() as made:
        runs, file = Path(made, "runs"), Path(made, "boards.yaml")
        file.write_text(SWEEP.format(root=folder / "cifar10", images=-(-images // 10)))
        words = ("run", file, "--storage", runs, "--executor", "inline", "--device", "cpu")
        subprocess.run([sys.executable, "-m", "orchestrator", *map(str, words)], check=True)
        print("| network | logits apart | clean, ours and theirs | AutoAttack | seconds |")
        print("| --- | --- | --- | --- | --- |")
        storage = Storage(str(runs))
        for row in Tables(storage).read("trials").to_dict("records"):
            trial = trial_of(storage, row["trial_id"])
            data = datasets.load(trial.dense.dataset, CPU).test.take(torch.arange(images))
            written = Path(made, f"{KEY}_{row['granularity']}.pt")
            export_for_benchmark(storage, trial, written)
            start = time.perf_counter()
            network, ours = load_network(runs, trial.key, device="cpu"), []
            for attack, threat in (("clean", None), ("autoattack", trial.threat)):
                stage = Evaluation(network=trial.network, attack=attack, threat=threat)
                ours.append(100 * evaluate(network, data, stage).accuracy)
            middle = time.perf_counter()
            loaded = base()
            held = torch.load(written, weights_only=True)["state_dict"]
            loaded.load_state_dict(held, strict=True)
            seen = TensorDataset(*data.batch(slice(None)))
            with torch.no_grad():
                apart = float((loaded.eval()(seen[:][0]) - network(seen[:][0])).abs().max())
            with patch.object(torchvision.datasets, "CIFAR10", return_value=seen), seeded(0, CPU):
                clean, robust = test.test_model_aa(loaded, "CIFAR10", made, "cpu")
            times = f"{middle - start:.0f}, {time.perf_counter() - middle:.0f}"
            both = f"{ours[0]:.2f} %, {clean:.2f} % | {ours[1]:.2f} %, {robust:.2f} %"
            print(f"| {written.stem} | {apart:.1e} | {both} | {times} |", flush=True)


if __name__ == "__main__":
    main()
