"""Damage curves from few points and few images, against the exact curves: agreement and cost.

    python benchmarks/damage_curves.py                     # resnet8 and vgg8
    python benchmarks/damage_curves.py resnet20 --removal  # without the perturbation form

Exact: every number of channels of every module removed, on 512 adversarial training images. For
each estimate: Spearman's correlation over modules of the damage at half of the units; the largest
difference of a module's kept share at sparsities .5 and .8; the time over that of a clean epoch of
the same network, in the same run. Below, the perturbation form of MRS beside the same damage.
Networks as in benchmarks/mrs.py; some ten minutes on one core.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict

import numpy as np
import torch
from torch import nn

from prune_core.data import datasets
from prune_core.data.datasets import Dataset as Data
from prune_core.models import architectures
from prune_core.pruning.prunable.channels import Channels
from prune_core.pruning.prunable.masks import maskable
from prune_core.pruning.ratios.curves import along, curves_of, path
from prune_core.pruning.ratios.sensitivities import Measured, by_module, measure, measure_removal
from prune_core.pruning.scores.scoring import score
from prune_core.specs.recipes import Training
from prune_core.specs.settings import Dataset, Estimation
from prune_core.specs.stages import Dense, Scores, Sensitivity
from prune_core.training import loop as training

from mrs import RECIPE, SEEDS, THREAT, agreement

ARCHITECTURES = ("resnet8", "vgg8")
REMOVAL = "--removal"
POINTS = (1, 3, 7, 15)
IMAGES = (64, 128, 512)
EXACT = 64
"""Points at which the exact curve is measured; no module here has more units."""


def shares(points: int) -> tuple[float, ...]:
    return tuple((i + 1) / (points + 1) for i in range(points))


def kept(view: Channels, found: dict[str, Measured], points: int) -> np.ndarray:
    """Return the shares kept [2, modules] that meet sparsities .5 and .8."""
    curves = curves_of({name: each.rises for name, each in found.items()}, shares(points))
    units = np.array([module.units for module in view.modules])
    way = path([curves[m.name] for m in view.modules], units.tolist(), view.costs.params)
    whole = int(view.costs.params(units))
    at = []
    for sparsity in (0.5, 0.8):
        budget = (1 - sparsity) * whole
        places = [along(way, dial) for dial in np.linspace(0, 1, 401)]
        gaps = [abs(view.costs.params(np.rint(p * units).astype(int)) - budget) for p in places]
        at.append(places[int(np.argmin(gaps))])
    return np.stack(at)


def compare(architecture: str, seed: int, data: Data) -> dict[str, tuple[float, float, float]]:
    """Return (agreement, largest difference of shares, clean epochs) by estimate."""
    dense = Dense(
        dataset=Dataset(name="digits"), architecture=architecture, training=RECIPE.resolved(),
        threat=THREAT, seed=seed,
    )  # fmt: skip
    network: nn.Module = architectures.build(
        architecture, data.shape, data.classes, data.mean, data.std, seed
    )
    training.fit(network, data, RECIPE, THREAT, dense.key)
    one = Training(objective="standard", epochs=1, lr=1e-6).resolved()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    start = time.perf_counter()
    training.fit(network, data, one, None, dense.key)
    epoch = time.perf_counter() - start
    network.load_state_dict(state)
    view = Channels(network, data.shape)
    scores = score(network, data, view.modules, Scores(network=dense, criterion="l1"))

    def removal(points: int, images: int) -> tuple[dict[str, Measured], float]:
        stage = Sensitivity(
            network=dense, estimator="damage", threat=THREAT,
            estimation=Estimation(samples=images, shares=shares(points)),
        )  # fmt: skip
        start = time.perf_counter()
        found = measure_removal(network, view, scores, data, stage)
        return found, time.perf_counter() - start

    def at_half(found: dict[str, Measured]) -> dict[str, float]:
        return {name: each.value for name, each in found.items()}

    exact, seconds = removal(EXACT - 1, 512)
    rows = {"exact, 512 images": (1.0, 0.0, seconds / epoch)}
    for points in POINTS:
        for images in IMAGES:
            found, seconds = removal(points, images)
            apart = np.abs(kept(view, found, points) - kept(view, exact, EXACT - 1)).max()
            rows[f"{points} points, {images} images"] = (
                agreement(at_half(found), at_half(exact)), float(apart), seconds / epoch,
            )  # fmt: skip
    for estimator in () if REMOVAL in sys.argv else ("perturbation-few-step", "perturbation"):
        for norm in ("frobenius", "spectral"):
            stage = Sensitivity(
                network=dense, estimator=estimator, estimation=Estimation(norm=norm), threat=THREAT
            )
            start = time.perf_counter()
            layers = measure(network, list(maskable(network)), data, stage)
            seconds = time.perf_counter() - start
            values = at_half(by_module(view.modules, layers))
            rows[f"{estimator}, {norm} norm"] = (
                agreement(values, at_half(exact)), float("nan"), seconds / epoch,
            )  # fmt: skip
    return rows


def main() -> None:
    torch.set_num_threads(1)
    data = datasets.load(Dataset(name="digits"), torch.device("cpu"))
    named = [name for name in sys.argv[1:] if name != REMOVAL]
    for architecture in named or ARCHITECTURES:
        by: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
        for seed in SEEDS:
            for name, row in compare(architecture, seed, data).items():
                by[name].append(row)
        print(f"### {architecture}, {len(SEEDS)} seeds\n")
        print("| estimate | agreement, mean (least) | shares apart at most | clean epochs |")
        print("| --- | --- | --- | --- |")
        for name, rows in by.items():
            agreed, apart, epochs = (np.array(column) for column in zip(*rows, strict=True))
            far = "" if np.isnan(apart).any() else f"{apart.max():.2f}"
            agreeing = f"{agreed.mean():.2f} ({agreed.min():.2f})"
            print(f"| {name} | {agreeing} | {far} | {epochs.mean():.1f} |")
        print(flush=True)


if __name__ == "__main__":
    main()
