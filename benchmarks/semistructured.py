"""A network masked 2:4 on sparse tensor cores against the same network dense, both in halves.

Needs a CUDA device of compute capability 8.0 or later; says so where there is none. Run: python
benchmarks/semistructured.py
"""

from __future__ import annotations

import time

import torch
from torch import nn

from prune_core.models import architectures
from prune_core.pruning.prunable.granularities import pattern

from sparse_tensor_cores import accelerate, available

SHAPE, BATCH, REPEATS = (3, 32, 32), 512, 30


def seconds(network: nn.Module, images: torch.Tensor) -> float:
    """Return the time of a forward pass."""
    with torch.no_grad():
        for _ in range(5):
            network(images)
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(REPEATS):
            network(images)
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / REPEATS


def main() -> None:
    """Measure and print."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not available(device):
        print("no sparse tensor cores here: nothing measured")
        return
    print(
        "| network | layers compressed | dense, ms | 2:4, ms | times faster | largest difference |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name in ("resnet18", "vgg16", "vit-tiny"):
        network = architectures.build(name, SHAPE, 10, (0.5,) * 3, (0.25,) * 3, 0).eval().to(device)
        view = pattern(network, SHAPE, 2, 4)
        scores = {m.name: network.get_parameter(f"{m.name}.weight").abs().flatten().detach()
                  for m in view.modules}  # fmt: skip
        view.remove({m.name: view.select(m, scores[m.name], m.cap or m.units)
                        for m in view.modules})  # fmt: skip
        fast, names = accelerate(network)
        plain = network.half()
        images = torch.rand(BATCH, *SHAPE, device=device).half()
        with torch.no_grad():
            apart = float((fast(images) - plain(images)).abs().max())
        dense, sparse = seconds(plain, images), seconds(fast, images)
        print(
            f"| {name} | {len(names)} | {1e3 * dense:.2f} | {1e3 * sparse:.2f} | "
            f"{dense / sparse:.2f} | {apart:.4f} |"
        )


if __name__ == "__main__":
    main()
