"""Do 95 % intervals cover the truth 95 % of the time? Simulated sweeps with known shares.

    python benchmarks/calibration.py [settings] [siblings] [losses] [collapses] [holes] [small]
        [images] [ranks] [stopping]

`settings`: kind data and unkind; `siblings`: sweeps of other shapes and noises; `losses`: trials
that are missing in other ways; `collapses`: levels that collapse at some seeds; `holes`: an
excluded combination and lost trials; `small`: all pairs of effects from none to five points;
`images`: the truth is over images as well as seeds; `ranks`: the agreement of rankings; `stopping`:
seeds are added until the interval is narrow enough. `tries=N`: sweeps a row.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from simulated_settings import COLLAPSES, EQUAL, LOSSES, SETTINGS, SIBLINGS, TRUTHS
from simulated_sweeps import NAMES, SIZES, UNLIKE, Setting, cells, noise, pictured, sweep

from orchestrator.driver.replication import seeds_for
from orchestrator.sweepfile.resources import Replication, Until
from results.errors import AnalysisError
from results.statistics.design.design import Array, Design, too_few
from results.statistics.design.intervals import NO_ESTIMATE, Estimate, t_quantile
from results.statistics.design.missing import completed
from results.statistics.design.share_parts import variances
from results.statistics.levels.ranks import agreement
from results.statistics.shares.comparison import compare_main_effects
from results.statistics.shares.decomposition import measured_terms, total_gram
from results.statistics.shares.images import Pictures
from results.statistics.verdict.strikes import few, strikes

SMALL = (0.0, 0.003, 0.006, 0.01, 0.02, 0.05)
PAIR = ("criterion", "finetuning")
LEVELS = tuple(tuple(range(size)) for size in SIZES)
SEEDS = (3, 5, 10)
TRIES = 1000
"""The standard error of a coverage near 95 % is then 0.7 points."""


class Count:
    """How often intervals cover, how wide they are, how often a verdict is false, or refused."""

    def __init__(self) -> None:
        self.hits: list[list[float]] = []

    def add(self, found: Estimate, true: float, *more: bool, refused: bool = False) -> None:
        """Count an interval of the difference, and whether others covered."""
        decided = not refused and (found.low > 0 or found.high < 0)
        false = decided and (abs(true) < 1e-9 or (found.value > 0) != (true > 0))
        covers = found.low - 1e-9 <= true <= found.high + 1e-9
        self.hits.append([covers, *more, false, refused, found.high - found.low])

    def cells(self, without: int = 0) -> str:
        """Return percentages, the last but the width, in points; without the last before it."""
        mean = 100 * np.mean(self.hits, axis=0)
        shown = mean[: len(mean) - 1 - without]
        return " | ".join([*(f"{value:.1f}" for value in shown), f"{mean[-1]:.0f}"])


def count(
    tally: Count, design: Design, true: tuple[float, float], pictures: Pictures | None = None
) -> None:
    """Count what the package's intervals make of a sweep."""
    found = compare_main_effects(design, pictures=pictures)
    inside = [found.shares[name].low - 1e-9 <= one <= found.shares[name].high + 1e-9
              for name, one in zip(PAIR, true, strict=True)]  # fmt: skip
    tally.add(found.difference, true[1] - true[0], *inside, refused=refused(design))


def refused(design: Design) -> bool:
    """Return whether the verdict is, for what the design shows."""
    return bool(too_few(design)) or any(few(strikes(design, name)) for name in PAIR)


def jackknife_estimate(
    statistic: Callable[[NDArray[np.intp]], float], seeds: int, confidence: float = 0.95
) -> Estimate:
    """Return a statistic of all seeds with its delete-one-seed jackknife interval.

    With fewer than three seeds none can be left out, and there is no interval.

    Args:
        statistic: is given the indices of the seeds to use, two at least.
        seeds: how many there are.
        confidence: of the interval.

    Source:
        Student's t of the pseudo-values: Arvesen, 1969.
    """
    every = np.arange(seeds)
    whole = statistic(every)
    if seeds < 3:
        return NO_ESTIMATE._replace(value=whole)
    without = np.array([statistic(np.delete(every, s)) for s in every])
    pseudo = seeds * whole - (seeds - 1) * without
    error = pseudo.std(ddof=1) / np.sqrt(seeds)
    reach = float(t_quantile(confidence, seeds - 1) * error)
    return Estimate(whole, whole - reach, whole + reach)


def jackknife(design: Design) -> Estimate:
    """Return the difference with the seed-jackknife's interval on Student's t, the usual one."""
    terms, total = measured_terms(design, PAIR), total_gram(design)
    gap = terms["finetuning"].gram - terms["criterion"].gram

    def difference(keep: Array) -> float:
        chosen = np.ix_(keep, keep)
        return float(variances(gap[chosen]) / variances(total[chosen]))

    return jackknife_estimate(difference, len(total))


def bootstrap(design: Design, rng: np.random.Generator) -> Estimate:
    """Return the difference of eta squared with the percentiles of 200 resamplings of the seeds."""
    terms, total = measured_terms(design, PAIR), total_gram(design)
    gap = terms["finetuning"].gram - terms["criterion"].gram
    weights = rng.multinomial(len(total), np.full(len(total), 1 / len(total)), 200) / len(total)
    drawn = [np.einsum("bs,st,bt->b", weights, gram, weights) for gram in (gap, total)]
    low, high = np.quantile(drawn[0] / drawn[1], [0.025, 0.975])
    return Estimate(float(gap.sum() / total.sum()), float(low), float(high))


def settings() -> Iterator[str]:
    """Yield the rows of kind data and unkind, the usual intervals beside ours."""
    yield from beside_the_usual(SETTINGS)


def siblings() -> Iterator[str]:
    """Yield rows of sweeps of other shapes and noises, which the intervals were not tried on."""
    yield from beside_the_usual(SIBLINGS)


def losses() -> Iterator[str]:
    """Yield rows of sweeps that lack trials in other ways."""
    yield from beside_the_usual(LOSSES)


def beside_the_usual(chosen: dict[str, Setting]) -> Iterator[str]:
    """Yield a row a setting and number of seeds, the usual intervals beside ours."""
    yield from head("seeds", "setting", *OURS, *(f"{name}: {what}" for name in
                    ("jackknife", "bootstrap") for what in OURS[::3] + OURS[-1:]))  # fmt: skip
    for (name, setting), seeds in itertools.product(chosen.items(), SEEDS):
        rng = np.random.default_rng(seeds)
        ours, jack, boot = Count(), Count(), Count()
        for _ in range(TRIES):
            design, true, _ = sweep(rng, setting, seeds)
            try:
                count(ours, design, true)
            except AnalysisError:  # nothing is left to compare, and it says so
                continue
            jack.add(jackknife(design), true[1] - true[0])
            boot.add(bootstrap(design, rng), true[1] - true[0])
        usual = " | ".join(one.cells(without=1) for one in (jack, boot))
        yield f"| {seeds} | {name} | {ours.cells()} | {usual} |"


def collapses() -> Iterator[str]:
    """Yield rows of levels that collapse at some seeds, and of what is said of the others."""
    yield from head("seeds", "setting", *OURS, "not refused: difference as seen", "false")
    for (name, setting), seeds in itertools.product(COLLAPSES.items(), SEEDS):
        rng, ours, left = np.random.default_rng(seeds), Count(), Count()
        for _ in range(TRIES):
            design, true, as_seen = sweep(rng, setting, seeds)
            count(ours, design, true)
            if not ours.hits[-1][-2]:
                left.add(compare_main_effects(design).difference, as_seen[1] - as_seen[0])
        kept = 100 * np.mean(left.hits, axis=0)[:2] if left.hits else (np.nan, np.nan)
        yield f"| {seeds} | {name} | {ours.cells()} | {kept[0]:.1f} | {kept[1]:.1f} |"


def holes() -> Iterator[str]:
    """Yield rows for an excluded combination and one trial in twenty lost."""
    yield from head("seeds", "truth", *OURS)
    for seeds, (name, truth) in itertools.product(SEEDS, TRUTHS.items()):
        rng, setting, ours = np.random.default_rng(seeds), Setting(truth, missing=0.05), Count()
        for _ in range(TRIES):
            base = cells(rng, truth)
            base[:, 0, :, 0] = np.nan
            exact = Design(NAMES, LEVELS, (0, 1), np.stack([base, base], axis=-1), ())
            terms, total = measured_terms(exact, PAIR), variances(total_gram(exact))
            criterion, finetuning = (float(variances(terms[one].gram) / total) for one in PAIR)
            values = base[..., None] + noise(rng, seeds, setting)
            values[rng.random(values.shape) < setting.missing] = np.nan
            values, degrees = completed(values)
            design = Design(NAMES, LEVELS, tuple(range(seeds)), values, (), degrees)
            count(ours, design, (criterion, finetuning))
        yield f"| {seeds} | {name} | {ours.cells()} |"


def small() -> Iterator[str]:
    """Yield rows of the smallest and largest coverage over pairs of effects of 0 to 5 points."""
    yield from head("seeds", "levels' noise", *OURS[:4], "difference where both are absent")
    for seeds, levels in itertools.product(SEEDS, (EQUAL.levels, UNLIKE)):
        found = []
        for pair in itertools.product(SMALL, SMALL):
            rng, ours = np.random.default_rng(seeds), Count()
            for _ in range(TRIES):
                design, true, _ = sweep(rng, Setting((*pair, 0.02), levels=levels), seeds)
                count(ours, design, true)
            found.append(100 * np.mean(ours.hits, axis=0)[:4])
        ends = zip(np.min(found, axis=0), np.max(found, axis=0), strict=True)
        cover = " | ".join(f"{low:.1f} to {high:.1f}" for low, high in ends)
        named = "unlike" if levels == UNLIKE else "alike"
        yield f"| {seeds} | {named} | {cover} | {found[0][0]:.1f} |"


def images() -> Iterator[str]:
    """Yield rows for truths over all images, of which some were tested."""
    yield from head("seeds", "images", "truth", *OURS, "these images: difference", "criterion",
                    "fine-tuning", "false", "refused", "width")  # fmt: skip
    truths = {"equal": (0.06, 0.06, 0.02), "criterion absent": (0.0, 0.08, 0.02)}
    for seeds, many, name in itertools.product(SEEDS, (50, 360, 1000), truths):
        rng, ours, these = np.random.default_rng(seeds), Count(), Count()
        for _ in range(TRIES // 2):
            design, true, seen = pictured(rng, truths[name], seeds, many)
            count(ours, design, true, seen)
            count(these, design, true)
        yield f"| {seeds} | {many} | {name} | {ours.cells()} | {these.cells()} |"


def ranks() -> Iterator[str]:
    """Yield rows for the agreement of the rankings of criteria under three fine-tunings."""
    yield from head("seeds", "criteria", "apart by, points", "interaction", "covers", "width",
                    "of no width", "jackknife: covers", "width", "of no width")  # fmt: skip
    cases = ((0.02, 0.01), (0.01, 0.01), (0.05, 0.02), (0.05, 0.0))
    for seeds, many, (apart, mixed) in itertools.product(SEEDS, (4, 8), cases):
        rng, hits = np.random.default_rng(seeds), []
        for _ in range(TRIES):
            mean = rng.normal(0, apart, (many, 1)) + rng.normal(0, mixed, (many, 3))
            true = agreement(np.stack([mean] * 2, axis=-1)).value
            table = mean[..., None] + rng.normal(0, 0.012, (many, 1, seeds))
            table += rng.normal(0, 0.01, (many, 3, seeds))
            usual = jackknife_estimate(lambda keep, t=table: agreement(t[..., keep]).value, seeds)
            for one in (agreement(table), usual):
                low, high = max(-1.0, one.low), min(1.0, one.high)
                hits.append(
                    (low - 1e-9 <= true <= high + 1e-9, (high - low) / 100, high - low < 1e-9)
                )
        shown = 100 * np.reshape(hits, (TRIES, 6)).mean(axis=0)
        cover = " | ".join(
            f"{value:.{digits}f}" for value, digits in zip(shown, (1, 2, 1) * 2, strict=True)
        )
        yield f"| {seeds} | {many} | {100 * apart:.0f} | {100 * mixed:.0f} | {cover} |"


def stopping() -> Iterator[str]:
    """Yield rows for sweeps that add seeds, 3 to 20, until the interval has a half-width."""
    yield from head("half-width wanted", "truth", "difference", "false verdicts", "mean seeds")
    for half_width, (name, truth) in itertools.product((0.10, 0.05, 0.02), TRUTHS.items()):
        rule = Replication(min=3, max=20, until=Until(half_width=half_width))
        rng, ours, used = np.random.default_rng(7), Count(), []
        for _ in range(TRIES):
            whole, true, _ = sweep(rng, Setting(truth), rule.max)
            seeds = rule.min
            while True:
                values = whole.values[..., :seeds]
                design = Design(NAMES, LEVELS, tuple(range(seeds)), values, ())
                found = compare_main_effects(design).difference
                width = (found.high - found.low) / 2
                if width <= half_width or seeds >= rule.max:
                    break
                seeds = seeds_for(rule, seeds, width)
            ours.add(found, true[1] - true[0])
            used.append(seeds)
        cover, false = 100 * np.mean(ours.hits, axis=0)[:2]
        yield f"| {half_width:.2f} | {name} | {cover:.1f} | {false:.1f} | {np.mean(used):.1f} |"


OURS = ("difference", "criterion", "fine-tuning", "false verdicts", "refused", "width")
"""Percentages of sweeps whose intervals cover, and the mean width of the difference's in points."""
PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "settings": settings, "siblings": siblings, "losses": losses, "collapses": collapses,
    "holes": holes, "small": small, "images": images, "ranks": ranks,
    "stopping": stopping,
}  # fmt: skip


def head(*names: str) -> Iterator[str]:
    """Yield the head of a table."""
    yield f"| {' | '.join(names)} |"
    yield "| --- " * len(names) + "|"


def main() -> None:
    """Print the tables that are asked for."""
    global TRIES
    asked = sys.argv[1:]
    TRIES = next((int(one[6:]) for one in asked if one.startswith("tries=")), TRIES)
    for name in [one for one in asked if not one.startswith("tries=")] or ["settings"]:
        for row in PARTS[name]():
            print(row, flush=True)


if __name__ == "__main__":
    main()
