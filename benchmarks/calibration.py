"""Do 95 % intervals cover the truth 95 % of the time? Simulated sweeps with known shares.

Seed blocks, seed x factor noise and residual noise, as sweeps have them; a balanced design of 96
cells, as in the demo. Run: python benchmarks/calibration.py; with `holes` for designs with excluded
cells and trials that failed, with `small` for all pairs of effects from none to five points and for
noise that differs between levels, with `stopping` for seeds that are added until the interval is
narrow enough.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator

import numpy as np
import pandas as pd

from orchestrator.driver.replication import seeds_for
from orchestrator.sweepfile.resources import Replication, Until
from results.statistics.comparison import compare_main_effects
from results.statistics.decomposition import measured_terms, total_gram
from results.statistics.design import Array, Design, make_design
from results.statistics.share_intervals import share_interval, variances

NAMES = ("architecture", "criterion", "sparsity", "allocation", "finetuning")
SIZES = (2, 4, 2, 2, 3)
LEVELS = tuple(tuple(range(size)) for size in SIZES)
TRUTHS = {  # effects of criterion, fine-tuning and their interaction, root mean square
    "fine-tuning dominates": (0.02, 0.10, 0.03),
    "criterion without effect": (0.0, 0.10, 0.03),
    "equal effects": (0.08, 0.08, 0.03),
    "near tie": (0.05, 0.06, 0.02),
    "effects near zero": (0.003, 0.006, 0.002),
    "interaction alone": (0.0, 0.0, 0.06),
}
SMALL = (0.0, 0.003, 0.006, 0.01, 0.02, 0.05)
PAIR = ("criterion", "finetuning")
TRIES = 2000
"""The standard error of a coverage near 95 % is then half a point."""


def effect(rng: np.random.Generator, scale: float, shape: tuple[int, ...]) -> Array:
    """Return a random effect of zero marginal means and a given root mean square."""
    values = rng.standard_normal(shape)
    for axis in range(len(shape)):
        if shape[axis] > 1:
            values = values - values.mean(axis=axis, keepdims=True)
    return np.asarray(scale * values / np.sqrt(np.mean(values**2)))


def cells(rng: np.random.Generator, truth: tuple[float, float, float]) -> Array:
    """Return the expected value of every cell."""
    criterion, finetuning, both = truth
    return (
        effect(rng, 0.05, (2, 1, 1, 1, 1))
        + effect(rng, 0.06, (1, 1, 2, 1, 1))
        + effect(rng, criterion, (1, 4, 1, 1, 1))
        + effect(rng, finetuning, (1, 1, 1, 1, 3))
        + effect(rng, both, (1, 4, 1, 1, 3))
    )


def shares(values: Array) -> tuple[float, float]:
    """Return the true main-effect shares of criterion and fine-tuning."""
    total = values.var()
    criterion = values.mean(axis=(0, 2, 3, 4)).var()
    return criterion / total, values.mean(axis=(0, 1, 2, 3)).var() / total


def sweeps(rng: np.random.Generator, base: Array, seeds: int, unlike: bool = False) -> Design:
    """Return one simulated sweep; its levels' noise is ``unlike`` where some have much more."""
    criterion = np.array([0.2, 0.5, 1.0, 2.0]) / 1.15 if unlike else np.ones(4)
    finetuning = np.array([0.0, 1.0, 2.0]) / 1.29 if unlike else np.ones(3)
    noise = (
        rng.normal(0, 0.02, (1, 1, 1, 1, 1, seeds))
        + rng.normal(0, 0.012, (1, 4, 1, 1, 1, seeds)) * criterion[:, None, None, None, None]
        + rng.normal(0, 0.012, (2, 1, 1, 1, 3, seeds)) * finetuning[:, None]
        + rng.normal(0, 0.02, (*SIZES, seeds))
    )
    return Design(NAMES, LEVELS, tuple(range(seeds)), base[..., None] + noise, ())


def holed(rng: np.random.Generator, design: Design) -> Design:
    """Return a design that excludes one criterion under one allocation, and lost trials in 20."""
    frame = pd.DataFrame(
        list(itertools.product(*design.levels, design.seeds)), columns=[*NAMES, "seed"]
    )
    frame["dataset"], frame["finetuned_clean"] = "simulated", design.values.reshape(-1)
    frame["status"] = np.where(rng.random(len(frame)) < 0.05, "failed", "done")
    return make_design(
        frame[(frame["criterion"] > 0) | (frame["allocation"] > 0)], "finetuned_clean", NAMES
    )


def least_squares(base: Array) -> tuple[float, float]:
    """Return the true shares in a design with holes, by `holed`'s own cells without noise."""
    exact = Design(
        NAMES, LEVELS, (0, 1), np.array(np.broadcast_to(base[..., None], (*SIZES, 2))), ()
    )
    exact.values[:, 0, :, 0] = np.nan
    terms = measured_terms(exact, PAIR)
    total = variances(total_gram(exact))
    criterion, finetuning = (float(variances(term.gram) / total) for term in terms.values())
    return criterion, finetuning


def covered(design: Design, criterion: float, finetuning: float) -> tuple[Array, str]:
    """Return whether difference, criterion and fine-tuning are in their intervals; the winner."""
    comparison = compare_main_effects(design, 0.95)
    _, low, high = comparison.difference
    terms = measured_terms(design, PAIR)
    lows, highs = share_interval([terms[name] for name in PAIR], total_gram(design))
    true = np.array([criterion, finetuning])
    inside = (lows <= true) & (true <= highs)
    return np.array([low <= finetuning - criterion <= high, *inside]), comparison.winner


def rows(holes: bool = False) -> Iterator[str]:
    """Yield the rows of the table."""
    for seeds in (3, 5, 10):
        for name, truth in TRUTHS.items():
            rng = np.random.default_rng(seeds)
            hits = np.zeros(3)
            wrong = 0.0
            for _ in range(TRIES):
                base = cells(rng, truth)
                criterion, finetuning = least_squares(base) if holes else shares(base)
                design = sweeps(rng, base, seeds)
                design = holed(rng, design) if holes else design
                inside, winner = covered(design, criterion, finetuning)
                hits += inside
                larger = "finetuning" if finetuning > criterion else "criterion"
                wrong += winner not in ("undecided", larger)
                if abs(finetuning - criterion) < 1e-9:
                    wrong += winner == larger
            if holes and name == "equal effects":
                wrong = np.nan  # least squares parts them a little where cells are missing
            cover = " | ".join(f"{100 * hit / TRIES:.1f}" for hit in hits)
            yield f"| {seeds} | {name} | {cover} | {100 * wrong / TRIES:.1f} |"


def small() -> Iterator[str]:
    """Yield rows of the smallest and largest coverage over pairs of effects of 0 to 5 points."""
    for seeds, unlike in itertools.product((3, 5, 10), (False, True)):
        coverages = []
        for pair in itertools.product(SMALL, SMALL):
            rng = np.random.default_rng(seeds)
            hits = np.zeros(3)
            for _ in range(TRIES // 2):
                base = cells(rng, (*pair, 0.02))
                hits += covered(sweeps(rng, base, seeds, unlike), *shares(base))[0]
            coverages.append(200 * hits / TRIES)
        ends = np.stack([np.min(coverages, axis=0), np.max(coverages, axis=0)], axis=1)
        cover = " | ".join(f"{low:.1f} to {high:.1f}" for low, high in ends)
        absent = coverages[0][0]
        noise = "unlike" if unlike else "alike"
        yield f"| {seeds} | {noise} | {cover} | {absent:.1f} |"


def stopped() -> Iterator[str]:
    """Yield rows for sweeps that add seeds, 3 to 20, until the interval has a half-width."""
    for half_width in (0.10, 0.05, 0.02):
        rule = Replication(min=3, max=20, until=Until(half_width=half_width))
        for name, truth in TRUTHS.items():
            rng = np.random.default_rng(7)
            hits, used, wrong = 0, [], 0
            for _ in range(TRIES):
                base = cells(rng, truth)
                criterion, finetuning = shares(base)
                whole, count = sweeps(rng, base, rule.max), rule.min
                while True:
                    design = Design(
                        NAMES, LEVELS, tuple(range(count)), whole.values[..., :count], ()
                    )
                    comparison = compare_main_effects(design, 0.95)
                    _, low, high = comparison.difference
                    width = (high - low) / 2
                    if width <= half_width or count >= rule.max:
                        break
                    count = seeds_for(rule, count, width)
                hits += low <= finetuning - criterion <= high
                used.append(count)
                larger = "finetuning" if finetuning > criterion else "criterion"
                equal = abs(finetuning - criterion) < 1e-9
                winner = comparison.winner
                wrong += winner != "undecided" and (equal or winner != larger)
            yield (
                f"| {half_width:.2f} | {name} | {100 * hits / TRIES:.1f} | "
                f"{100 * wrong / TRIES:.1f} | {np.mean(used):.1f} |"
            )


def main() -> None:
    """Print the table."""
    if "stopping" in sys.argv[1:]:
        print("| half-width wanted | truth | difference, % | false verdicts, % | mean seeds |")
        print("| --- | --- | --- | --- | --- |")
        for row in stopped():
            print(row, flush=True)
        return
    if "small" in sys.argv[1:]:
        print("| seeds | levels' noise | difference, % | criterion, % | fine-tuning, % | "
              "difference where both are absent, % |")  # fmt: skip
        print("| --- | --- | --- | --- | --- | --- |")
        for row in small():
            print(row, flush=True)
        return
    holes = "holes" in sys.argv[1:]
    print("| seeds | truth | difference, % | criterion, % | fine-tuning, % | false verdicts, % |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows(holes):
        print(row, flush=True)


if __name__ == "__main__":
    main()
