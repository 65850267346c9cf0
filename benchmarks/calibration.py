"""Do 95 % intervals cover the truth 95 % of the time? Simulated sweeps with known shares.

Seed blocks, seed x factor noise and residual noise, as sweeps have them; a balanced design of 96
cells. Run: python benchmarks/calibration.py; with `stopping` for seeds that are added until the
interval is narrow enough.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

from orchestrator.replication import seeds_for
from orchestrator.running import Replication, Until
from results.decomposition import decompose_design
from results.design import Array, Design
from results.verdict import compare_main_effects

NAMES = ("architecture", "criterion", "sparsity", "allocation", "finetuning")
SIZES = (2, 4, 2, 2, 3)
LEVELS = tuple(tuple(range(size)) for size in SIZES)
TRUTHS = {  # effects of criterion, fine-tuning and their interaction, root mean square
    "fine-tuning dominates": (0.02, 0.10, 0.03),
    "criterion without effect": (0.0, 0.10, 0.03),
    "equal effects": (0.08, 0.08, 0.03),
    "near tie": (0.05, 0.06, 0.02),
}
TRIES = 1000


def effect(rng: np.random.Generator, scale: float, shape: tuple[int, ...]) -> Array:
    """Return a random effect of zero marginal means and a given root mean square."""
    values = rng.standard_normal(shape)
    for axis in range(len(shape)):
        if shape[axis] > 1:
            values = values - values.mean(axis=axis, keepdims=True)
    return scale * values / np.sqrt(np.mean(values**2))


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


def sweeps(rng: np.random.Generator, base: Array, seeds: int) -> Design:
    """Return one simulated sweep."""
    noise = (
        rng.normal(0, 0.02, (1, 1, 1, 1, 1, seeds))
        + rng.normal(0, 0.012, (1, 4, 1, 1, 1, seeds))
        + rng.normal(0, 0.012, (2, 1, 1, 1, 3, seeds))
        + rng.normal(0, 0.02, (*SIZES, seeds))
    )
    return Design(NAMES, LEVELS, tuple(range(seeds)), base[..., None] + noise, ())


def rows() -> Iterator[str]:
    """Go through the table's rows."""
    for seeds in (3, 5, 10):
        for name, truth in TRUTHS.items():
            rng = np.random.default_rng(seeds)
            hits = np.zeros(3)
            wrong = 0
            for _ in range(TRIES):
                base = cells(rng, truth)
                criterion, finetuning = shares(base)
                design = sweeps(rng, base, seeds)
                table = decompose_design(design).set_index("term")
                winner, _, low, high = compare_main_effects(design, 0.95)
                true = {"criterion": criterion, "finetuning": finetuning}
                hits[0] += low <= finetuning - criterion <= high
                for i, term in enumerate(true):
                    hits[i + 1] += table.loc[term, "low"] <= true[term] <= table.loc[term, "high"]
                larger = "finetuning" if finetuning > criterion else "criterion"
                wrong += winner not in ("undecided", larger)
                if abs(finetuning - criterion) < 1e-9:
                    wrong += winner == larger
            cover = " | ".join(f"{100 * hit / TRIES:.1f}" for hit in hits)
            yield f"| {seeds} | {name} | {cover} | {100 * wrong / TRIES:.1f} |"


def stopped() -> Iterator[str]:
    """Go through the rows of seeds that are added from 3 to 20, by the half-width wanted."""
    for half_width in (0.10, 0.05, 0.02):
        rule = Replication(min=3, max=20, until=Until(half_width=half_width))
        for name, truth in TRUTHS.items():
            rng = np.random.default_rng(7)
            covered, used, wrong = 0, [], 0
            for _ in range(TRIES):
                base = cells(rng, truth)
                criterion, finetuning = shares(base)
                whole, count = sweeps(rng, base, rule.max), rule.min
                while True:
                    design = Design(
                        NAMES, LEVELS, tuple(range(count)), whole.values[..., :count], ()
                    )
                    winner, _, low, high = compare_main_effects(design, 0.95)
                    width = (high - low) / 2
                    if width <= half_width or count >= rule.max:
                        break
                    count = seeds_for(rule, count, width)
                covered += low <= finetuning - criterion <= high
                used.append(count)
                larger = "finetuning" if finetuning > criterion else "criterion"
                equal = abs(finetuning - criterion) < 1e-9
                wrong += winner != "undecided" and (equal or winner != larger)
            yield (
                f"| {half_width:.2f} | {name} | {100 * covered / TRIES:.1f} | "
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
    print("| seeds | truth | difference, % | criterion, % | fine-tuning, % | false verdicts, % |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows():
        print(row, flush=True)


if __name__ == "__main__":
    main()
