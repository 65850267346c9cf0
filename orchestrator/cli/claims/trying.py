"""``mrsweep try``: a new method beside a study, at equal budgets, and where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

import results
from orchestrator.cli.request import told_content
from orchestrator.cli.running import How, run_plan
from orchestrator.cli.status import hours_in_words
from orchestrator.errors import RequestError
from orchestrator.planning.estimates import device_seconds, jobs_table, rates, seconds_left
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.state.survey import State, survey
from orchestrator.sweepfile.model import read_sweep
from orchestrator.sweepfile.resolved import resolved_text
from orchestrator.sweepfile.tried import Kind, Tried, tried
from results.errors import AnalysisError
from results.report.published import published_sentence
from results.statistics.design.design import metrics_of
from results.statistics.levels.standing import standing
from results.statistics.verdict.verdict import leading_metric
from results.tables.load import Loaded
from results.tables.storage import Storage
from results.tables.store import Tables

BESIDE = {
    Kind.criterion: (("random", "chance"), ("l1", "")),
    Kind.allocation: (("uniform", ""),),
    Kind.objective: (("standard", ""), ("pgd", "")),
}
"""Levels that a new method is set beside, besides the study's best: what one must beat."""
STRAY = "reads what it is not given"
"""What errors of methods say that read what they may not."""


def try_method(
    name: str,
    study: Path,
    kind: Kind,
    sweep: str | None,
    storage: str,
    metric: str | None,
    how: How,
    dry_run: bool,
    console: Console,
) -> bool:
    """Run a new method beside a study and say where it stands; return whether that can be said.

    Args:
        name: The method, such as ``my_package.scores:mine``.
        study: Its folder: ``sweeps/NAME/`` and ``tables/``.
        kind: What the method is.
        sweep: Which of the study's sweeps; needed where it has several.
        storage: The storage root of what is run; the study is left as it is.
        metric: What is compared; the strongest attack's by default.
        how: How to run it; its changes are those of the study's sweep file.
        dry_run: Whether to say what it would cost, and no more.
        console: Where to print.

    Raises:
        RequestError: There is no such study, sweep or method.
    """
    loaded = _study(study, sweep)
    rows = loaded.trials
    file = study / "sweeps" / str(loaded.sweep) / "sweep.yaml"
    whole = read_sweep(file, how.changes)
    root = Storage(storage)
    root.check()
    new = tried(whole, kind, name, sorted(map(int, rows["seed"].unique())))
    plan = replace(make_plan(told_content(new.sweep, root)), guarded=True)
    state = survey(plan, root, how.retry_failed)
    before = make_plan(told_content(whole, root), rows["seed"].nunique())
    _say_cost(plan, before, state, Tables(Storage(str(study))), storage, console)
    if dry_run:
        return True
    run_plan(plan, resolved_text(new.sweep), root, how, console)
    ours = results.load(storage, sweep=new.sweep.name).trials
    return _say_standing(rows, ours, new, kind, metric, _drift(before, loaded), console)


def _study(study: Path, sweep: str | None) -> Loaded:
    names = sorted(file.parent.name for file in study.glob("sweeps/*/sweep.yaml"))
    if not names:
        raise RequestError(f"{study} is no study: it has no sweeps/NAME/sweep.yaml")
    if sweep is None and len(names) > 1:
        raise RequestError(f"{study} has several sweeps; give --sweep: {', '.join(names)}")
    if sweep is not None and sweep not in names:
        raise RequestError(f"{study} has no sweep {sweep!r}; it has: {', '.join(names)}")
    return results.load(str(study), sweep=sweep or names[0])


def _say_cost(
    plan: Plan, study: Plan, state: State, tables: Tables, storage: str, console: Console
) -> None:
    """Say what is to be run and what it takes, by what the study's own jobs took."""
    jobs = jobs_table(tables)
    known = replace(plan, jobs={**study.jobs, **plan.jobs})
    rate = rates(jobs.assign(seconds=device_seconds(jobs)), known)
    left = seconds_left(rate, plan, state.needed)
    kinds = [plan.jobs[key].kind for key in state.needed]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)) or "nothing"
    hours = hours_in_words(list(left.values()))
    console.print(f"To do: {counts}; device-hours at the study's rates: {hours}.", highlight=False)
    if dense := kinds.count("dense"):
        console.print(
            f"{dense} dense networks are not in {storage}, so they are trained again: studies keep "
            "tables and no networks.",
            highlight=False,
        )


def _drift(study: Plan, loaded: Loaded) -> str:
    """Say how many of the study's trials have other keys in this version; nothing if none."""
    if loaded.plan is None:
        return ""
    changed = int((~loaded.plan["trial_id"].isin(list(study.trials))).sum())
    if not changed:
        return ""
    return (
        f"{changed} of the study's {len(loaded.plan)} trials have other keys in this version: its "
        "rows are of earlier code, whose differences are in the numbers above."
    )


def _say_standing(
    study: pd.DataFrame,
    ours: pd.DataFrame,
    new: Tried,
    kind: Kind,
    metric: str | None,
    drift: str,
    console: Console,
) -> bool:
    """Print where the new levels stand; return whether that can be said of each."""

    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, highlight=False, markup=False)

    failed = ours.loc[ours["status"] == "failed", "error"].dropna()
    if stray := next((error for error in failed if STRAY in error), None):
        say(f"\nIt has no standing: {stray}", "bold red")
        return False
    if len(failed):
        say(f"\nTrials failed: {len(failed)}, such as: {failed.iloc[0]}")
    both = pd.concat([study, ours[~ours["trial_id"].isin(study["trial_id"])]], ignore_index=True)
    told = True
    for level in new.levels:
        try:
            lead = leading_metric(study[study["status"] == "done"], metric)
            others = both[~both[new.factor].isin(set(new.levels) - {level})]
            found = standing(others, lead, new.factor, level, BESIDE[kind])
            say(f"\n{found.sentence}", "bold")
        except AnalysisError as error:
            say(f"\n{level}: {error}.")
            told = False
    if told:
        say(published_sentence(ours))
    for note in filter(None, (drift, *_dense_apart(study, ours))):
        say(f"Note: {note}")
    return told and not len(failed)


def _dense_apart(study: pd.DataFrame, ours: pd.DataFrame) -> Iterator[str]:
    """Say how far dense networks that were trained again lie from the study's."""
    by = ["dataset", "architecture", "dense", "seed"]
    columns = [name for name in metrics_of(ours) if name.startswith("dense_") and name in study]
    mine, theirs = (frame.groupby(by)[columns].first() for frame in (ours, study))
    apart = 100 * (mine - theirs).abs().max().max() if columns else np.nan
    if np.isfinite(apart) and apart > 0:
        yield (
            f"the dense networks, trained again here, lie up to {apart:.1f} points from the "
            "study's: other processors round otherwise."
        )
