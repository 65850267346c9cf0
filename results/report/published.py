"""Published figures to set ours beside: those of the adversarial pruning benchmark."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from results.statistics.design.words import percent

BESIDE = ("dataset", "architecture", "granularity", "sparsity")
"""What must be equal before two figures are compared."""
EPS, IMAGES, CLASSES = 0.031, 10_000, 10
SOURCE = "README of pralab/AdversarialPruningBenchmark at 0ae46e7 (Piras et al., 2024)"
NOTE = "single runs: no table there gives a spread over seeds"


def published() -> pd.DataFrame:
    """Return what the adversarial pruning benchmark publishes, a row a network.

    ``dataset``, ``architecture`` and ``granularity`` are called as ours are; ``sparsity`` is a
    share of weights or, by channel, of what each paper counts; ``method`` is the paper's; ``clean``
    and ``autoattack`` are shares of ``images`` test images, at linf ``eps``; ``seeds`` is 1
    everywhere; ``source`` and ``note`` say where a figure is from and what it lacks.
    """
    table = pd.read_csv(Path(__file__).with_name("published.csv"))
    return table.assign(eps=EPS, images=IMAGES, seeds=1, source=SOURCE, note=NOTE)


def beside(trials: pd.DataFrame) -> pd.DataFrame:
    """Return published figures of networks that are among the trials too, and ours beside them.

    A row is a published network; ``ours_clean`` and ``ours_autoattack`` are those of our best
    method there (of ``ours_of``, by mean AutoAttack accuracy on the same test images), ``ours_sd``
    its standard deviation over ``ours_seeds``. Trials under another threat, on some of the
    classes, or whose budget is no share of parameters, are left out. Empty where nothing agrees.

    Args:
        trials: rows of ``trials``.
    """
    if "finetuned_autoattack" not in trials:
        return pd.DataFrame()
    done = trials[
        (trials["status"] == "done")
        & (trials["norm"] == "linf")
        & ((trials["eps"] - EPS).abs() < 1e-3)
        & (trials["budget"] == "params")
        & (trials["classes"] == CLASSES)
        & trials["finetuned_autoattack"].notna()
    ]
    if done.empty:
        return pd.DataFrame()
    method = ["criterion", "allocation", "dense", "finetuning"]
    ours = (
        done.groupby([*BESIDE, *method])
        .agg(
            ours_clean=("finetuned_clean", "mean"),
            ours_autoattack=("finetuned_autoattack", "mean"),
            ours_sd=("finetuned_autoattack", "std"),
            ours_seeds=("seed", "nunique"),
        )
        .reset_index()
        .sort_values("ours_autoattack", ascending=False, kind="stable")
    )
    ours["ours"] = ours[method].astype(str).agg(" + ".join, axis=1)
    ours["ours_of"] = ours.groupby(list(BESIDE))["ours"].transform("nunique")
    ours = ours.drop_duplicates(list(BESIDE))
    return published().merge(ours.drop(columns=method), on=list(BESIDE), validate="many_to_one")


def published_sentence(trials: pd.DataFrame) -> str:
    """Say how trials compare with published figures of the same networks, if any agrees."""
    table = beside(trials)
    if table.empty:
        return (
            "Published figures: none is of the same data set, network, granularity, sparsity and "
            "threat with AutoAttack."
        )
    said = []
    for (dataset, architecture, granularity, sparsity), rows in table.groupby(list(BESIDE)):
        ours = rows.iloc[0]
        ordered = rows.sort_values("autoattack", ascending=False)
        others = [f"{method} {100 * float(of):.1f}"
                  for method, of in ordered[["method", "autoattack"]].to_numpy()]  # fmt: skip
        said.append(
            f"on {dataset}, {architecture} by {granularity} at {percent(float(str(sparsity)))}: "
            f"{100 * float(ours['ours_autoattack']):.1f} % under AutoAttack over "
            f"{ours['ours_seeds']} seeds, beside {', '.join(others)}"
        )
    return f"Published figures ({NOTE}): {'; '.join(said)}."
