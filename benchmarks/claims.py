"""Are claims decided as promised? False support at most 5 %, and the power that was promised.

    python benchmarks/claims.py [contrasts] [shares] [pilots] [rows]

`contrasts`: simulated seeds, decided by Student's intervals written here once more: what is false
at the margin, and how often a design decides where the package promises 80 %; `shares`: simulated
sweeps whose two factors have equal shares, and where one leads; `pilots`: the number of seeds is
taken from a pilot; `rows`: the same from rows of tables, through all that a claim goes through.
A minute on one core.
"""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from simulated_sweeps import Setting, sweep

from results.claims.chance import Assumed, chances, seeds_needed
from results.claims.design import Design
from results.claims.looks import looks
from results.claims.outcome import OUTCOMES, decided
from results.claims.question import CONTRAST, EQUIVALENT, NO_WORSE, Question
from results.statistics.design.design import Array
from results.statistics.design.design import Design as Sample
from results.statistics.shares.comparison import compare_main_effects

DESIGNS = {
    "fixed, 5": Design((5,)),
    "fixed, 10": Design((10,)),
    "3, 5, 8": Design((3, 5, 8)),
    "3, 5, 8, Pocock": Design((3, 5, 8), spending="pocock"),
    "5, 10, 15, 20": Design((5, 10, 15, 20)),
}
NOISE = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "Student's t of 3": lambda rng, shape: rng.standard_t(3, shape) / np.sqrt(3),
    "skewed upwards (exponential)": lambda rng, shape: rng.exponential(1, shape) - 1,
    "skewed downwards": lambda rng, shape: 1 - rng.exponential(1, shape),
}
TRIES = 20_000
"""The standard error of 5 % is then 0.15 points, of 80 % 0.28."""
MARGIN = 1.0


def ended(values: Array, design: Design, margin: float) -> dict[str, float]:
    """Return how often experiments [tries, seeds] end in each outcome, in percent."""
    outcome = np.full(len(values), "undecided", dtype=object)
    for seeds, alpha in zip(design.seeds, design.alphas, strict=True):
        seen = values[:, :seeds]
        mean, error = seen.mean(axis=1), stats.sem(seen, axis=1)
        low = mean + stats.t.ppf(alpha / 2, seeds - 1) * error
        high = mean - stats.t.ppf(alpha / 2, seeds - 1) * error
        now = np.where(low > margin, "supported", np.where(high < margin, "refuted", "undecided"))
        now = np.where((low > -margin) & (high < margin), "equivalent", now)
        outcome = np.where(outcome == "undecided", now, outcome)
    return {name: 100 * float((outcome == name).mean()) for name in OUTCOMES}


def contrasts() -> None:
    rng = np.random.default_rng(1)
    question = Question(CONTRAST, ("allocation",), "finetuned_clean", MARGIN, levels=("a", "b"))
    print(
        "\n| design | noise | at the margin: supported | refuted, equivalent | promised | decided |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for (name, design), (kind, noise) in itertools.product(DESIGNS.items(), NOISE.items()):
        draws = noise(rng, (TRIES, design.seeds[-1]))
        null = ended(MARGIN + draws, design, MARGIN)
        at = promising(question, design)
        promised = 100 * chances(question, design, Assumed.stated(at, 1.0))["supported"]
        power = ended(at + noise(rng, draws.shape), design, MARGIN)["supported"]
        other = null["refuted"] + null["equivalent"]
        print(f"| {name} | {kind} | {null['supported']:.1f} | {other:.1f} | {promised:.1f} | "
              f"{power:.1f} |")  # fmt: skip
    print("\nWhat exact boundaries would add: points of power at the last look's own boundary")
    for name, design in list(DESIGNS.items())[2:]:
        print(f"{name}: {exact_gain(rng, design, promising(question, design)):.1f}")


def promising(question: Question, design: Design) -> float:
    """Return the difference at which a design promises 80 %, where seeds scatter by 1."""
    low, high = MARGIN, MARGIN + 20
    for _ in range(30):
        middle = (low + high) / 2
        enough = chances(question, design, Assumed.stated(middle, 1.0))["supported"] >= 0.8
        low, high = (low, middle) if enough else (middle, high)
    return high


def exact_gain(rng: np.random.Generator, design: Design, at: float) -> float:
    """Return by how much the power rises if the last boundary makes the false rate just alpha."""
    normal = rng.standard_normal((10 * TRIES, design.seeds[-1]))

    def statistics(shift: float) -> Array:
        seen = [shift + normal[:, :seeds] for seeds in design.seeds]
        return np.stack([of.mean(axis=1) / stats.sem(of, axis=1) for of in seen])

    bounds = [
        stats.t.ppf(1 - a / 2, n - 1) for n, a in zip(design.seeds, design.alphas, strict=True)
    ]
    null, real = np.abs(statistics(0.0)), statistics(at - MARGIN)
    early = (null[:-1] > np.array(bounds[:-1])[:, None]).any(axis=0)
    left = design.alpha - early.mean()
    last = np.quantile(np.where(early, 0, null[-1]), 1 - left)
    before = (real[:-1] > np.array(bounds[:-1])[:, None]).any(axis=0)
    return 100 * float(
        (before | (real[-1] > last)).mean() - (before | (real[-1] > bounds[-1])).mean()
    )


def parts() -> None:
    """Claims of several levels: the truth of one lies at the margin, that of the others not."""
    rng = np.random.default_rng(2)
    print("\n| claim | design | false: supported | refuted |\n| --- | --- | --- | --- |")
    for expects, truth in (
        ("greater", (1.0, 6.0, 6.0)), (NO_WORSE, (-1.0, 4.0, 4.0)),
        (EQUIVALENT, (1.0, 0.0, 0.0)), (EQUIVALENT, (1.0, 1.0, -1.0)),
    ):  # fmt: skip
        for name in ("fixed, 10", "3, 5, 8"):
            design = DESIGNS[name]
            values = np.array(truth) + rng.standard_normal((TRIES, design.seeds[-1], 3))
            codes = coded(values, design, expects)
            false = [100 * float((codes == place).mean()) for place in (1, 2)]
            print(f"| {expects}, {truth} | {name} | {false[0]:.1f} | {false[1]:.1f} |")


def coded(values: Array, design: Design, expects: str) -> NDArray[np.intp]:
    """Return the outcomes of experiments [tries, seeds, parts], as places in `OUTCOMES`."""
    codes = np.zeros(len(values), dtype=np.intp)
    for seeds, alpha in zip(design.seeds, design.alphas, strict=True):
        seen = values[:, :seeds]
        mean, error = seen.mean(axis=1), stats.sem(seen, axis=1)
        reach = [stats.t.ppf(1 - alpha / 2 / of, seeds - 1) * error for of in (1, 3)]
        ends, wide = ((mean - by, mean + by) for by in reach)
        codes = np.where(codes == 0, decided(ends, wide, MARGIN, expects), codes)
    return codes


def shares(tries: int = 400) -> None:
    rng = np.random.default_rng(3)
    print("\n| shares | design | supported | refuted |\n| --- | --- | --- | --- |")
    for truth in ((0.03, 0.03, 0.0), (0.02, 0.04, 0.01)):
        for name in ("fixed, 5", "3, 5, 8"):
            design = DESIGNS[name]
            found = np.zeros(4)
            for _ in range(tries):
                made = sweep(rng, Setting(truth), design.seeds[-1]).design
                found[shares_outcome(made, design)] += 1
            percent = 100 * found / tries
            print(f"| {truth[1]:g} against {truth[0]:g} | {name} | {percent[1]:.1f} | "
                  f"{percent[2]:.1f} |")  # fmt: skip


def shares_outcome(made: Sample, design: Design) -> int:
    for seeds, alpha in zip(design.seeds, design.alphas, strict=True):
        seen = replace(made, seeds=tuple(range(seeds)), values=made.values[..., :seeds])
        gap = compare_main_effects(seen, 1 - alpha).difference
        ends = (np.array([100 * gap.low]), np.array([100 * gap.high]))
        if code := int(decided(ends, ends, 0.0, "greater")):
            return code
    return 0


def pilots(tries: int = 100) -> None:
    """Take the number of seeds from a pilot's scatter, then decide on other seeds."""
    rng = np.random.default_rng(4)
    question = Question(CONTRAST, ("allocation",), "finetuned_clean", MARGIN, levels=("a", "b"))
    print("\n| seeds of the pilot | promised | decided | mean seeds |\n| --- | --- | --- | --- |")
    for seeds in (3, 5, 10):
        hits, taken, promised = [], [], []
        for _ in range(tries):
            pilot = rng.standard_normal(seeds)
            apart = (pilot - pilot.mean()) / np.sqrt(seeds - 1)
            assumed = Assumed(np.array([MARGIN + 1.5]), apart[:, None], seeds - 1)
            needed = seeds_needed(question, Design((3,)), assumed, 0.8) or 200
            values = MARGIN + 1.5 + rng.standard_normal((200, needed))
            hits.append(ended(values, Design((needed,)), MARGIN)["supported"])
            taken.append(needed)
            promised.append(100 * chances(question, Design((needed,)), assumed)["supported"])
        print(f"| {seeds} | {np.mean(promised):.1f} | {np.mean(hits):.1f} | {np.mean(taken):.1f} |")


def rows(tries: int = 150) -> None:
    rng = np.random.default_rng(5)
    levels = {"criterion": ("l1", "lamp"), "allocation": ("mrs", "uniform")}
    question = Question(
        CONTRAST, ("allocation",), "finetuned_pgd_20", MARGIN, levels=("mrs", "uniform")
    )
    print("\n| rows of tables | design | supported | other |\n| --- | --- | --- | --- |")
    for name, gap in (("at the margin", MARGIN), ("3 points beyond", MARGIN + 3)):
        for kind in ("fixed, 5", "3, 5, 8"):
            ends = []
            for _ in range(tries):
                trials = table(rng, levels, DESIGNS[kind].seeds[-1], gap)
                *_, last = looks(trials, trials[["trial_id", "seed"]], question, DESIGNS[kind])
                ends.append(last.finding.outcome)
            supported = 100 * ends.count("supported") / tries
            other = 100 * (len(ends) - ends.count("undecided")) / tries - supported
            print(f"| {name} | {kind} | {supported:.1f} | {other:.1f} |")


def table(
    rng: np.random.Generator, levels: dict[str, tuple[str, ...]], seeds: int, gap: float
) -> pd.DataFrame:
    """Return rows of ``trials``: seeds scatter by about a point in the difference."""
    made = []
    for seed in range(seeds):
        block, own = rng.normal(0, 0.02), rng.normal(0, 0.009)
        for number, cell in enumerate(itertools.product(*levels.values())):
            value = 0.4 + block + (gap / 100 + own) * (cell[1] == "mrs") + rng.normal(0, 0.003)
            made.append({**dict(zip(levels, cell, strict=True)), "trial_id": f"{seed}-{number}",
                         "seed": seed, "status": "done", "dataset": "digits",
                         "finetuned_pgd_20": value})  # fmt: skip
    return pd.DataFrame(made)


WORKS = {
    "contrasts": (contrasts, parts), "shares": (shares,), "pilots": (pilots,), "rows": (rows,),
}  # fmt: skip

if __name__ == "__main__":
    for work in sys.argv[1:] or list(WORKS):
        for measure in WORKS[work]:
            measure()
