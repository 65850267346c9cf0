"""MRS and its estimates against RiFT's own procedure: rank agreement and time, on digits.

Every method looks at adversarial images of the same networks, made from training images. Agreement
is Spearman's rank correlation, over the layers of a network, with the converged value: 60 projected
steps from each of 2 starts on all 1,280 images. RiFT's procedure is written from its description
(arXiv 2308.02533): for each layer alone, stochastic gradient ascent with learning rate 1 in batches
of 512 for 10 epochs, projected once an epoch, the largest loss over epochs, a loss that is not a
number counted as none. ``mended`` projects at every step and counts such a loss as infinite.

Prints two tables and draws docs/mrs_agreement.svg. Takes about an hour on one core.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional as F

from prune_core.data import datasets
from prune_core.models import architectures
from prune_core.models.state import evaluating
from prune_core.pruning.prunable.masks import maskable
from prune_core.pruning.ratios.climb import PARTS, SMALLEST, Problem, make_problem
from prune_core.specs.recipes import Training
from prune_core.specs.registry import SENSITIVITIES
from prune_core.specs.settings import Dataset, Estimation, Threat
from prune_core.specs.stages import Dense, Sensitivity
from prune_core.training import loop as training

ARCHITECTURES = ("resnet20", "vgg8")
SEEDS = (0, 1, 2)
SIZES = (64, 128, 256, 512, 1280)
ALL = SIZES[-1]
PUBLISHED = 10_000
"""The number of examples that RiFT's authors use."""
THREAT = Threat(eps=0.15)
RECIPE = Training(objective="pgd", epochs=15, lr=0.05, attack_steps=5)
CONVERGED = Estimation(samples=ALL, steps=60, restarts=2)
ESTIMATES = ("perturbation", "perturbation-few-step", "perturbation-first-order")
FIGURE = Path(__file__).parents[1] / "docs" / "mrs_agreement.svg"

Values = dict[str, float]


def rift(problem: Problem, layer: str, shuffle: int, mended: bool) -> float:
    """Return the rise of the loss that RiFT's procedure finds for one layer."""
    weight = problem.network.get_parameter(f"{layer}.weight")
    origin = weight.detach().clone()
    radius = problem.estimation.epsilon * origin.norm()
    images, labels = (torch.cat(parts) for parts in zip(*problem.batches, strict=True))
    draw = torch.Generator().manual_seed(shuffle)
    highest = 0.0

    def project() -> None:
        offset = weight - origin
        weight.copy_(origin + offset * (radius / offset.norm()).clamp_max(1))

    try:
        for _ in range(10):
            for batch in torch.randperm(len(labels), generator=draw).split(512):
                loss = F.cross_entropy(problem.network(images[batch]), labels[batch])
                (gradient,) = torch.autograd.grad(loss, weight)
                with torch.no_grad():
                    weight.add_(gradient)
                    if mended:
                        project()
            with torch.no_grad():
                project()
                loss = sum(
                    F.cross_entropy(problem.network(x), y, reduction="sum").item()
                    for x, y in zip(images.split(512), labels.split(512), strict=True)
                ) / len(labels)
            if mended and not math.isfinite(loss):
                return math.inf
            highest = max(highest, loss) if math.isfinite(loss) else highest
    finally:
        with torch.no_grad():
            weight.copy_(origin)
    return highest - problem.base_loss


def estimated(problem: Problem, estimator: str) -> Values:
    """Return an estimate of ours for every layer."""
    estimate = SENSITIVITIES.load(estimator)
    return {layer: max(estimate(problem, layer)) for layer in maskable(problem.network)}


def first(problem: Problem, samples: int) -> Problem:
    """Return the problem on its first ``samples`` images, dealt out as the product deals them."""
    (images, labels), (clean, _) = (
        [torch.cat(parts)[:samples] for parts in zip(*batches, strict=True)]
        for batches in (problem.batches, problem.clean)
    )
    size = max(SMALLEST, math.ceil(samples / PARTS))
    return replace(
        problem,
        batches=list(zip(images.split(size), labels.split(size), strict=True)),
        clean=list(zip(clean.split(size), labels.split(size), strict=True)),
        estimation=Estimation(samples=samples),
    )


def problem_of(architecture: str, seed: int) -> Problem:
    """Train a network adversarially and make the adversarial set against it."""
    spec = Dataset(name="digits", validation=0.04)
    data = datasets.load(spec, torch.device("cpu"))
    dense = Dense(
        dataset=spec, architecture=architecture, training=RECIPE, threat=THREAT, seed=seed
    )
    network: nn.Module = architectures.build(
        architecture, data.shape, data.classes, data.mean, data.std, seed
    )
    training.fit(network, data, RECIPE, THREAT, dense.key)
    stage = Sensitivity(
        network=dense, estimator="perturbation", estimation=CONVERGED, threat=THREAT
    )
    return make_problem(network.eval(), data, stage)


def agreement(one: Values, other: Values) -> float:
    """Return Spearman's rank correlation over layers."""
    return float(spearmanr(list(one.values()), [other[layer] for layer in one]).statistic)


def measure(architecture: str, seed: int) -> dict[str, tuple[float, float, float]]:
    """Return (seconds, agreement with the converged value, worst share of it) by method."""
    problem = problem_of(architecture, seed)
    rows: dict[str, tuple[float, float, float]] = {}
    values: dict[str, Values] = {}
    with evaluating(problem.network):
        clock = time.perf_counter()
        converged = estimated(problem, "perturbation")
        rows["converged"] = (time.perf_counter() - clock, 1.0, 1.0)

        def note(name: str, start: float, rises: Values) -> None:
            seconds = time.perf_counter() - start
            values[name] = rises
            worst = min(rises[layer] / converged[layer] for layer in converged)
            rows[name] = (seconds, agreement(rises, converged), worst)

        for shuffle in (1, 2):
            for mended in (False, True):
                fresh = replace(problem)
                start = time.perf_counter()
                rises = {x: rift(fresh, x, shuffle, mended) for x in maskable(fresh.network)}
                note(f"rift{' mended' if mended else ''}, shuffle {shuffle}", start, rises)
        for samples in SIZES:
            for estimator in ESTIMATES:
                part = first(problem, samples)
                start = time.perf_counter()
                note(f"{estimator}, {samples}", start, estimated(part, estimator))
    itself = agreement(values["rift, shuffle 1"], values["rift, shuffle 2"])
    rows["rift with itself"] = (math.nan, itself, math.nan)
    return rows


def main() -> None:
    """Measure, print and draw."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS))
    options.add_argument("--architectures", nargs="*", default=list(ARCHITECTURES))
    chosen = options.parse_args()
    torch.set_num_threads(1)
    by: dict[str, dict[str, list[tuple[float, float, float]]]] = {}
    for architecture in chosen.architectures:
        rows: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
        for seed in chosen.seeds:
            start = time.perf_counter()
            for name, row in measure(architecture, seed).items():
                rows[name].append(row)
            print(f"# {architecture}, seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
        by[architecture] = rows
    for architecture, rows in by.items():
        print_table(architecture, rows)
    draw(by)


def print_table(architecture: str, rows: dict[str, list[tuple[float, float, float]]]) -> None:
    """Print agreement by seed and time against RiFT's, at equal data and at its published size."""
    theirs = np.mean([row[0] for n in (1, 2) for row in rows[f"rift, shuffle {n}"]])
    print(f"\n{architecture}, {len(rows['converged'])} seeds; RiFT on {ALL} images: {theirs:.1f} s")
    print(
        f"| method, images | agreement, mean (by seed) | times faster than RiFT on {ALL} | "
        f"than on {PUBLISHED} (extrapolated from its cost an image) | least share of the value |"
    )
    print("| --- | --- | --- | --- | --- |")
    for name, measured in rows.items():
        seconds, agreements, worst = (np.array(column) for column in zip(*measured, strict=True))
        ours = seconds.mean()
        each = ", ".join(f"{a:.3f}" for a in agreements)
        faster = f"{theirs / ours:.1f}" if np.isfinite(ours) else ""
        published = f"{theirs * PUBLISHED / ALL / ours:.0f}" if np.isfinite(ours) else ""
        print(
            f"| {name} | {agreements.mean():.3f} ({each}) | {faster} | {published} | "
            f"{worst.min():.2f} |"
        )


def draw(by: dict[str, dict[str, list[tuple[float, float, float]]]]) -> None:
    """Draw agreement over sample sizes, a panel for each architecture; a dot is a seed."""
    plt.rcParams |= {"svg.hashsalt": "mrsweep", "font.size": 9}
    figure, axes = plt.subplots(
        1, len(by), figsize=(3.4 * len(by) + 1, 3.0), sharey=True, squeeze=False
    )
    colours = {
        "perturbation": "#0072B2",
        "perturbation-few-step": "#D55E00",
        "perturbation-first-order": "#009E73",
    }
    for axis, (architecture, rows) in zip(axes[0], by.items(), strict=True):
        theirs = [row[1] for n in (1, 2) for row in rows[f"rift, shuffle {n}"]]
        axis.axhspan(min(theirs), max(theirs), color="0.92", lw=0, zorder=0)
        axis.axhline(float(np.mean(theirs)), color="0.55", lw=1, ls="--", zorder=1)
        for estimator in ESTIMATES:
            points = np.array([[row[1] for row in rows[f"{estimator}, {n}"]] for n in SIZES])
            colour = colours[estimator]
            axis.plot(SIZES, points, color=colour, ls="", marker="o", ms=3, alpha=0.35, mew=0)
            axis.plot(SIZES, points.mean(1), color=colour, lw=1.6)
            if axis is axes[0][-1]:
                axis.annotate(
                    estimator, (SIZES[-1], points.mean(1)[-1]), xytext=(5, 0),
                    textcoords="offset points", va="center", color=colour,
                )  # fmt: skip
        axis.text(
            0.98, 0.03, f"dashed: RiFT on {ALL} images, mean and range", ha="right",
            color="0.35", fontsize=7.5, transform=axis.transAxes,
        )  # fmt: skip
        axis.set_xscale("log", base=2)
        axis.set_xticks(SIZES, [str(n) for n in SIZES])
        axis.set_xlabel("adversarial training images")
        axis.set_title(architecture, loc="left", fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("rank agreement with\nthe converged MRS")
    axes[0][0].set_ylim(0.84, 1.005)
    figure.tight_layout()
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE, metadata={"Date": None})


if __name__ == "__main__":
    main()
