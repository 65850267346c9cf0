"""What `compile: true` costs the first network of a shape on a machine, and the next one.

    python benchmarks/compiling.py [--device cuda]

Each network is trained in a process of its own, by PGD for two epochs on few digits; torch keeps
what it compiled in a folder, which is new here.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from prune_core.data import datasets
from prune_core.models import architectures
from prune_core.pruning.prunable.channels import Channels
from prune_core.specs.compute import Compute
from prune_core.specs.recipes import Training
from prune_core.specs.settings import Dataset, Threat
from prune_core.training.loop import fit

NETWORKS = (("the dense shape", 1.0), ("the same", 1.0), ("half", 0.5), ("the same", 0.5))
"""In this order; of each module so many channels are left."""
RECIPE = Training(objective="pgd", epochs=2, batch_size=64, lr=0.05, attack_steps=2)


def trained(device: torch.device, seed: int, width: float) -> tuple[float, float]:
    """Return the seconds of the two epochs of a new network."""
    torch.set_num_threads(1)
    data = datasets.load(Dataset(name="digits", per_class=20), device)
    normalise = data.mean, data.std
    network = architectures.build("resnet8", data.shape, data.classes, *normalise, seed)
    view = Channels(network, data.shape)
    view.remove({each.name: [*range(int(width * each.units))] for each in view.modules})
    fitted = fit(
        network.to(device), data, RECIPE.resolved(), Threat(eps=0.1), f"compiling {seed}",
        compute=Compute(compile=True),
    )  # fmt: skip
    first, second = (epoch.seconds for epoch in fitted)
    return first, second


def main() -> None:
    """Print the table, or be one of its processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--one", nargs=2, metavar=("SEED", "WIDTH"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        seed, width = asked.one
        print("{:.1f} | {:.1f}".format(*trained(asked.device, int(seed), float(width))))
        return
    print("| network | first epoch, s | second, s |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for seed, (name, width) in enumerate(NETWORKS):
            command = [sys.executable, __file__, "--device", asked.device, "--one"]
            told = subprocess.run(
                [*command, str(seed), str(width)], check=True, text=True, stdout=subprocess.PIPE,
                env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(Path(folder) / "kept")},
            )  # fmt: skip
            print(f"| {name} | {told.stdout.splitlines()[-1]} |", flush=True)


if __name__ == "__main__":
    main()
