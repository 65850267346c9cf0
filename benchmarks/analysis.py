"""How long the analysis takes: 100,000 trials whole, 1,000,000 decomposed, against statsmodels.

    python benchmarks/analysis.py [report] [million] [anova]

Trials are simulated; times are of one process on one machine, reading the tables left out.
"""

from __future__ import annotations

import itertools
import resource
import sys
import time

import numpy as np
import pandas as pd

import results
from results.report.page import make_report
from results.report.summary import summarise
from results.statistics.design.design import make_design
from results.statistics.shares.decomposition import sums_of_squares
from results.tables.load import Loaded
from results.tables.storage import Storage

LEVELS = {"architecture": 4, "criterion": 10, "sparsity": 6, "allocation": 3, "finetuning": 14}
IMAGES = 1000
METRIC = "finetuned_pgd_20"


def simulated(seeds: int, metrics: tuple[str, ...] = ("clean", "pgd_20")) -> pd.DataFrame:
    """Return trials of 10,080 cells at some seeds, random effects of every level and seed."""
    rng = np.random.default_rng(0)
    names = [[f"{factor}{i}" for i in range(count)] for factor, count in LEVELS.items()]
    names[2] = list(np.linspace(0.3, 0.9, LEVELS["sparsity"]).round(2))
    names[3] = ["mrs", "global", "uniform"]
    frame = pd.DataFrame(list(itertools.product(*names, range(seeds))), columns=[*LEVELS, "seed"])
    value = rng.normal(0.4, 0.02, len(frame))
    for factor in (*LEVELS, "seed"):
        levels = frame[factor].unique()
        value += frame[factor].map(dict(zip(levels, rng.normal(0, 0.03, len(levels)), strict=True)))
    number = np.arange(len(frame)).astype(str)
    columns = {f"{stage}_{name}": value.clip(0, 1) - 0.1 * i
               for i, name in enumerate(metrics) for stage in ("finetuned", "pruned")}  # fmt: skip
    return frame.assign(
        trial_id=number, finetuned_network=number, pruned_network=number, status="done",
        dataset="simulated", error=None, shortfall=None, flags=None, budget="params",
        kept_units=None, dense_network="d",
        params_removed=frame["sparsity"], params=(1e6 * (1 - frame["sparsity"])).astype(int),
        macs=(1e8 * (1 - frame["sparsity"])).astype(int), granularity="channel", dense="dense",
        policy="finetune", **columns,
    )  # fmt: skip


def evaluations_of(trials: pd.DataFrame) -> pd.DataFrame:
    """Return outcomes by image, and set the trials' accuracies to theirs."""
    rng = np.random.default_rng(1)
    right = rng.random((len(trials), IMAGES), dtype=np.float32) < trials[[METRIC]].to_numpy()
    trials[METRIC] = right.mean(axis=1)
    packed = np.packbits(right, axis=1)
    return pd.DataFrame({
        "network": trials["finetuned_network"], "attack": "pgd-20", "norm": "linf",
        "count": IMAGES, "outcomes": [row.tobytes() for row in packed],
    })  # fmt: skip


def report() -> None:
    """Verdict, every table and every figure of 100,800 trials."""
    trials = simulated(10)
    loaded = Loaded(Storage("memory://none"), None)
    none = pd.DataFrame(columns=["network", "module", "position", "mrs", "ratio",
                                 "width_before", "width_after"])  # fmt: skip
    loaded.__dict__.update(trials=trials, evaluations=evaluations_of(trials), modules=none,
                           checks=pd.DataFrame(columns=["network"]))  # fmt: skip
    began = time.perf_counter()
    summary = summarise(loaded)
    analysed = time.perf_counter()
    files = make_report(summary, "simulated")
    drawn = time.perf_counter()
    kept = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"| verdict and tables of {len(trials):,} trials | {analysed - began:.1f} s |")
    print(f"| its page and figures, {len(files)} files | {drawn - analysed:.1f} s |")
    print(f"| size of the page | {len(files['index.html']) / 1e6:.1f} MB |")
    print(f"| most memory | {kept:.1f} GB |")


def million() -> None:
    """The decomposition of 1,008,000 trials."""
    trials = simulated(100, ("pgd_20",))
    began = time.perf_counter()
    table = results.decompose(trials, METRIC)
    print(f"| decomposition of {len(trials):,} trials, {len(table) - 2} terms "
          f"| {time.perf_counter() - began:.1f} s |")  # fmt: skip


def anova() -> None:
    """The same balanced data decomposed here and by statsmodels."""
    import statsmodels.api as sm
    from statsmodels.formula.api import ols

    rng = np.random.default_rng(0)
    names = ["architecture", "criterion", "sparsity", "finetuning"]
    rows = list(itertools.product(range(3), range(4), range(3), range(5), range(10)))
    trials = pd.DataFrame(rows, columns=[*names, "seed"]).assign(status="done", dataset="x")
    trials[METRIC] = rng.normal(0, 1, len(trials)) + trials["finetuning"]
    began = time.perf_counter()
    formula = f"{METRIC} ~ C(seed) + {' * '.join(f'C({name})' for name in names)}"
    theirs = sm.stats.anova_lm(ols(formula, trials).fit(), typ=2)["sum_sq"]
    middle = time.perf_counter()
    ours = sums_of_squares(make_design(trials, METRIC))
    after = time.perf_counter()
    results.decompose(trials, METRIC)
    last = time.perf_counter()
    gap = max(abs(size - theirs[":".join(f"C({part})" for part in term.split(":"))])
              for term, size in ours.items())  # fmt: skip
    print(f"| type-II ANOVA of {len(trials):,} trials by statsmodels | {middle - began:.2f} s |")
    faster = (middle - began) / (after - middle)
    print(f"| the same sums of squares here, apart by {gap:.1e} | {after - middle:.4f} s: "
          f"{faster:.0f} times faster |")  # fmt: skip
    print(f"| with shares and intervals | {last - after:.4f} s: "
          f"{(middle - began) / (last - after):.0f} times faster |")  # fmt: skip


PARTS = {"report": report, "million": million, "anova": anova}


def main() -> None:
    """Print the table."""
    print("| what | measured |\n| --- | --- |")
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()
        sys.stdout.flush()


if __name__ == "__main__":
    main()
