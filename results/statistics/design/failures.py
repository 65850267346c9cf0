"""Failures are data: what a trial that diverged counts as, and which levels lack what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from results.statistics.design.words import listed, metric_label, percent, term_name
from results.tables.schema import FACTORS

AT_CHANCE = "trials that diverged count as chance in "

CLASSES = 10
"""How many classes are taken where no row says it."""
BY_ITSELF = r"diverg|collaps|not finite|non-finite|\bnan\b|\binf\b"
"""What errors say where the training failed, not the machine."""
BY_THE_MACHINE = (
    r"memory|worker|node|killed|lost|preempt|time limit|timed? ?out|storage|disk|connection|\boom\b"
)
"""What errors say where the machine failed, which has nothing to do with the network."""
MORE_THAN_OTHERS = 2
"""A level is named where it lacks so many times the share of all trials that are missing."""


def diverged(trials: pd.DataFrame) -> pd.Series[bool]:
    """Return which trials failed because their training did: it diverged or collapsed."""
    return _failed(trials) & _says(trials, BY_ITSELF)


def unexplained(trials: pd.DataFrame) -> pd.Series[bool]:
    """Return which trials failed for a reason that may have to do with what they are."""
    return _failed(trials) & ~_says(trials, BY_ITSELF) & ~_says(trials, BY_THE_MACHINE)


def counted(
    trials: pd.DataFrame, metric: str, which: pd.Series[bool], value: pd.Series[float]
) -> pd.DataFrame:
    """Return trials of which some count as done, each with its value of the metric."""
    if not which.any():
        return trials
    return trials.assign(
        status=trials["status"].mask(which, "done"),
        **{metric: trials[metric].astype(float).mask(which, value)},
    )


def classes_of(trials: pd.DataFrame) -> int | None:
    """Return how many classes the images have; None where no row says it."""
    known = trials["classes"].dropna() if "classes" in trials else pd.Series(dtype=float)
    return int(known.max()) if len(known) else None


def chance(trials: pd.DataFrame, metric: str) -> pd.Series[float]:
    """Return the accuracy of a network that knows nothing, or the worst seen where that is lower.

    A class as good as another is right once in as many images as there are classes. Each trial has
    that of its data set.
    """
    classes = _of_dataset(trials, "classes", "max").fillna(CLASSES)
    return pd.Series(np.fmin(1 / classes, worst(trials, metric)), index=trials.index)


def worst(trials: pd.DataFrame, metric: str) -> pd.Series[float]:
    """Return for each trial the worst accuracy that was seen on its data set."""
    done = trials[[metric]].where(trials["status"] == "done")
    return _of_dataset(trials.assign(**done), metric, "min")


def _of_dataset(trials: pd.DataFrame, column: str, what: Literal["min", "max"]) -> pd.Series[float]:
    """Return for each trial what a column comes to over its data set; NaN where nothing is."""
    numbers = trials.get(column, pd.Series(np.nan, index=trials.index)).astype(float)
    alone = pd.Series("", index=trials.index)
    found: pd.Series[float] = numbers.groupby(trials.get("dataset", alone)).transform(what)
    return found


def at_chance(trials: pd.DataFrame, metric: str) -> tuple[pd.DataFrame, str]:
    """Return trials whose diverged ones count as chance accuracy, and what was done, in words.

    The words are empty where none diverged.
    """
    which = diverged(trials)
    if not metric.startswith("finetuned_") or not which.any():
        return trials, ""
    value, said = chance(trials, metric), []
    several = "dataset" in trials and trials["dataset"].nunique() > 1
    for name, rows in trials.groupby("dataset") if several else [("", trials)]:
        if which[rows.index].any():
            known = classes_of(rows)
            more = "" if known else ": no column `classes` says more"
            on = f" on {name}" if several else ""
            least = percent(value.loc[rows.index].iloc[0], 1)
            said.append(f"{least}{on}, of {known or CLASSES} classes{more}")
    return (
        counted(trials, metric, which, value),
        f"{AT_CHANCE}{metric_label(metric)} ({'; '.join(said)})",
    )


def together(notes: Iterable[str]) -> list[str]:
    """Return notes, those of diverged trials on several metrics as one."""
    notes = list(notes)
    alike = sorted(note.removeprefix(AT_CHANCE) for note in notes if note.startswith(AT_CHANCE))
    others = [note for note in notes if not note.startswith(AT_CHANCE)]
    return [*others, AT_CHANCE + listed(alike)] if alike else others


def lacking(
    trials: pd.DataFrame, metric: str, names: Sequence[str], planned: int | None = None
) -> str:
    """Say how many trials are missing, why, and which levels lack more than others; or nothing.

    Args:
        trials: rows of ``trials``; those that were not run have none.
        metric: what they are missing from.
        names: the factors and the block.
        planned: how many there would be; those of all combinations of levels where None.
    """
    there = (trials["status"] == "done") & np.isfinite(trials[metric].astype(float))
    every = pd.MultiIndex.from_product([sorted(trials[n].dropna().unique()) for n in names])
    total = planned or len(every)
    lost = total - int(there.sum())
    if lost <= 0:
        return ""
    bad, odd = int(diverged(trials).sum()), int(unexplained(trials).sum())
    machine = int(_failed(trials).sum()) - bad - odd
    why = [
        f"{count} {word}"
        for count, word in (
            (bad, "diverged"),
            (odd, "failed"),
            (machine, "lost to the machine"),
            (lost - bad - odd - machine, "not run"),
        )
        if count > 0
    ]
    text = f"{lost} of {total} trials are missing ({', '.join(why)})"
    named = []
    for name in names:
        have = trials[there].groupby(name).size()
        each = total / trials[name].nunique()
        for level in sorted(trials[name].dropna().unique()):
            lacks = each - have.get(level, 0)
            if lacks / each >= MORE_THAN_OTHERS * lost / total or lacks / each > 0.5:
                named.append(
                    (lacks / each, f"{term_name(name)} {level} lacks {percent(lacks / each)}")
                )
    worst = [text for _, text in sorted(named, key=lambda one: -one[0])[:4]]
    return f"{text}; {listed(worst)} of its trials" if worst else text


def _failed(trials: pd.DataFrame) -> pd.Series[bool]:
    if "status" not in trials:
        return pd.Series(data=False, index=trials.index)
    return trials["status"] == "failed"


def _says(trials: pd.DataFrame, pattern: str) -> pd.Series[bool]:
    if "error" not in trials:
        return pd.Series(data=False, index=trials.index)
    error = trials["error"].astype(object).where(trials["error"].notna(), "").astype(str)
    return error.str.contains(pattern, case=False, regex=True)


def factors_of(trials: pd.DataFrame) -> list[str]:
    """Return the factors with more than one level."""
    return [name for name in FACTORS if name in trials and trials[name].nunique() > 1]
