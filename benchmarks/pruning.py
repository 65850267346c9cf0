"""Every architecture at every ratio: what was asked, what was achieved, how long pruning took.

L1, uniform, by channel, on images of 32 pixels. The time is that of the whole pruning: finding the
modules, scoring, solving and cutting. Every network then takes a step of training. Prints the table
of docs/architectures.md. Run: python benchmarks/pruning.py
"""

from __future__ import annotations

import time

import torch
from torch.nn import functional as F

from prune_core.data import datasets
from prune_core.models import architectures
from prune_core.pruning.prunable.counting import count_macs, count_params
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.prune import prune
from prune_core.pruning.scores.scoring import score
from prune_core.specs.recipes import Training
from prune_core.specs.registry import ARCHITECTURES
from prune_core.specs.settings import Dataset
from prune_core.specs.stages import Dense, Pruned, Scores

RATIOS = (0.3, 0.5, 0.7, 0.9)
LIBRARIES = ("timm:resnetv2_50", "torchvision:mnasnet0_5")


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    data = datasets.load(Dataset(name="generated", size=32), torch.device("cpu"))
    names = [name for name in ARCHITECTURES.methods if "<" not in name]
    print("| architecture | parameters | MACs | asked | parameters removed | MACs removed | time |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in (*names, *LIBRARIES):
        for ratio in RATIOS:
            print(row(name, ratio, data), flush=True)


def row(name: str, ratio: float, data: datasets.Dataset) -> str:
    """Prune one network, train it for a step, and return its row of the table."""
    network = architectures.build(name, data.shape, 10, data.mean, data.std, seed=0)
    before = count_params(network), count_macs(network, data.shape)
    dense = Dense(
        dataset=Dataset(name="generated", size=32),
        architecture=name,
        training=Training(epochs=0),
        threat=None,
        seed=0,
    )
    scores = Scores(network=dense, criterion="l1")
    stage = Pruned(network=dense, scores=scores, allocation="uniform", sparsity=ratio, min_keep=0.1)
    start = time.perf_counter()
    modules = prunable_view(network, data.shape, "channel").modules
    by_module = score(network, data, modules, scores)
    _, report = prune(network, data.shape, stage, by_module)
    seconds = time.perf_counter() - start
    network.train()
    images, labels = data.train.batch(slice(0, 8))
    loss = F.cross_entropy(network(images), labels)
    loss.backward()
    if not loss.isfinite() or any(p.grad is None for p in network.parameters()):
        raise RuntimeError(f"{name} at {ratio} does not train")
    return (
        f"| {name} | {before[0] / 1e6:.2f} M | {before[1] / 1e6:.0f} M | {ratio:.0%} | "
        f"{report.params_removed:.2%} | {report.macs_removed:.2%} | {seconds:.2f} s |"
    )


if __name__ == "__main__":
    main()
