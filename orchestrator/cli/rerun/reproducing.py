"""``mrsweep reproduce``: one trial of a bundle computed anew, and the verdict from its tables."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from orchestrator.cli.rerun.comparing import Compared, compared, tolerances
from orchestrator.cli.rerun.lock import installed
from orchestrator.cli.rerun.opened import Bundle, entered, opened
from orchestrator.errors import RequestError
from orchestrator.planning.outsiders import digests_of
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.state.content import with_content
from orchestrator.sweepfile.model import read_sweep
from prune_core.errors import PruneCoreError
from prune_core.specs.stage import Stage
from prune_core.specs.stages import Trial
from results.publish.provenance import PROVENANCE
from results.tables.schema import FACTORS, KEY
from results.tables.storage import Storage
from results.tables.store import Tables

SHOWN = 8
"""More differences than this are counted, not shown."""


class Outcome(IntEnum):
    """How a bundle was reproduced; the exit code of the command."""

    same = 0
    different = 1
    tolerable = 3


@dataclass(frozen=True)
class How:
    """What is computed anew: the options of the command."""

    trial: str | None = None
    seed: int = 0
    device: str = "auto"
    verdict_only: bool = False


def reproduce(path: Path, how: How, console: Console) -> Outcome:
    """Reproduce a bundle; print what is the same, and why the rest may not be.

    Args:
        path: The bundle: a folder or a zip.
        how: Which trial, and where it is computed.
        console: Where to print.

    Raises:
        RequestError: It is no bundle, has no such trial, or its images are not here.
    """
    with opened(path) as bundle:
        outcomes = [
            _told("Files", list(bundle.faults()), "are those that were bundled", console),
            _told("Accuracies", list(bundle.table_faults()), "follow from their images", console),
            _told("Verdicts", list(bundle.verdict_faults()), "follow from the tables", console),
        ]
        if not how.verdict_only:
            with entered(bundle):
                outcomes.append(_trial(bundle, how, console))
    outcome = max(outcomes, key=[Outcome.same, Outcome.tolerable, Outcome.different].index)
    said = {
        Outcome.same: "Bit-identical." if not how.verdict_only else "The same.",
        Outcome.tolerable: "Within tolerance, not to the bit.",
        Outcome.different: "Different.",
    }
    console.print(said[outcome], style="bold")
    return outcome


def _told(what: str, faults: list[str], fine: str, console: Console) -> Outcome:
    for fault in faults[:SHOWN]:
        console.print(f"differs: {fault}", highlight=False, markup=False)
    if len(faults) > SHOWN:
        console.print(f"and {len(faults) - SHOWN} more differences", highlight=False)
    if not faults:
        console.print(f"{what} {fine}.", highlight=False)
    return Outcome.different if faults else Outcome.same


def _trial(bundle: Bundle, how: How, console: Console) -> Outcome:
    """Compute a trial anew and compare all of its rows."""
    row = _chosen(bundle, how)
    key = str(row["trial_id"])
    picked = "" if how.trial else f" (drawn at seed {how.seed} of {len(bundle.loaded.trials)})"
    levels = ", ".join(f"{name} {row[name]}" for name in (*FACTORS, "seed"))
    console.print(f"Trial {key}{picked}: {levels}", highlight=False, markup=False)
    try:
        plan = _plan(bundle)
    except PruneCoreError as error:
        return _told("Code", [f"the sweep cannot be planned with this code: {error}"], "", console)
    if key not in plan.trials:
        return _told("Code", list(_other_code(bundle, plan, row)), "", console)
    with TemporaryDirectory(prefix="mrsweep-") as folder, console.status(f"computing {key}"):
        found, device = _computed(plan, key, Storage(folder), how.device)
    said = _rows(Tables(Storage(str(bundle.folder))), plan, key)
    if (failed := found["trials"][0]).get("status") != "done":
        return _told("Trial", [f"it fails here: {failed.get('error')}"], "", console)
    result = compared(said, found, tolerances(bundle.loaded.trials, row, FACTORS))
    return _judged(result, list(_reasons(bundle, row, device)), console)


def _judged(result: Compared, reasons: list[str], console: Console) -> Outcome:
    """Say how a trial was reproduced: numbers may be off only where something else is, too."""
    if not result.apart:
        console.print(f"All {result.rows} rows of it are the same to the bit.", highlight=False)
        return Outcome.same
    _told("Trial", result.apart, "", console)
    console.print(
        f"Its accuracies are off by {100 * result.furthest:.2f} points at most.", highlight=False
    )
    for reason in reasons:
        console.print(f"may be why: {reason}", highlight=False, markup=False)
    if not reasons:
        console.print("Nothing is known to be another here than where it was computed.")
    for fault in result.beyond:
        console.print(f"beyond tolerance: {fault}", highlight=False, markup=False)
    return Outcome.different if result.beyond or not reasons else Outcome.tolerable


def _chosen(bundle: Bundle, how: How) -> dict[str, Any]:
    """Return the row of the trial that is asked for, or of one that is drawn."""
    trials = bundle.loaded.trials
    done = trials[trials["status"] == "done"].sort_values("trial_id")
    if how.trial is not None:
        done = done[done["trial_id"] == how.trial]
    if done.empty:
        raise RequestError(f"the bundle has no trial {how.trial or ''} that is done")
    number = random.Random(how.seed).randrange(len(done))  # noqa: S311 - no secret hangs on it
    return {str(name): value for name, value in done.iloc[number].items()}


def _plan(bundle: Bundle) -> Plan:
    """Return the plan of the bundle's sweep with the code that is here.

    Raises:
        RequestError: Its images are not here, or are others.
    """
    sweep = read_sweep(Path("sweeps") / str(bundle.record["sweep"]) / "sweep.yaml")
    for name, data in sweep.datasets.items():
        places = (data.root, data.corrupted, data.extra.file if data.extra else None)
        away = [place for place in places if place is not None and not Path(place).exists()]
        if away:
            variables = " and ".join(map(_variable, away))
            raise RequestError(
                f"the images of {name} are not part of the bundle: set {variables} to where they "
                "are, with the whole path"
            )
    sweep = with_content(sweep, Storage(str(bundle.folder)), lambda *_: None)
    for name, data in sweep.datasets.items():
        if data.content != (known := bundle.record["content"].get(name)):
            raise RequestError(
                f"the files in {data.root} are {data.content}, the bundle's images of {name} are "
                f"{known}: give the folder that is meant"
            )
    seeds = bundle.loaded.trials["seed"].nunique()
    return make_plan(sweep, None if isinstance(sweep.seeds, tuple) else seeds)


def _variable(root: str) -> str:
    """Return the variable in a folder's name that is not set here, or the name."""
    return next((part for part in Path(root).parts if part.startswith("$")), root)


def _other_code(bundle: Bundle, plan: Plan, row: Mapping[str, Any]) -> Iterator[str]:
    """Say why a trial has another key here."""
    here = digests_of(plan.sweep)
    for name, digest in bundle.record["methods"].items():
        if here.get(name) != digest:
            yield f"{name} has other code than the bundle's keys know"
    yield (
        f"this code gives trial {row['trial_id']} another key, so it would compute other numbers: "
        f"its row is of mrsweep {row['version']}, commit {row['commit']}"
    )


def _computed(
    plan: Plan, key: str, storage: Storage, device: str
) -> tuple[dict[str, list[dict[str, Any]]], str]:
    """Compute a trial with all that it needs into storage of its own; return its rows."""
    from orchestrator.driver.inline import execute_path
    from orchestrator.worker.device import resolve_device

    where = resolve_device(device)
    execute_path(plan, key, storage, where)
    return _rows(Tables(storage), plan, key), where


def _rows(tables: Tables, plan: Plan, key: str) -> dict[str, list[dict[str, Any]]]:
    """Return a trial's row and those of the stages on its path, by table.

    Networks on its path may be other trials' final ones, and have evaluations and checks of theirs.
    """
    trial = plan.trials[key].stage
    if not isinstance(trial, Trial):
        raise RequestError(f"{key} is no trial")
    waiting: list[Stage] = [trial]
    path: set[str] = set()
    while waiting:
        stage = waiting.pop()
        path.add(stage.key)
        waiting += stage.parents.values()
    networks = (trial.dense, trial.pruned, trial.network)
    wanted = {
        "trials": {key},
        "evaluations": {each.key for of in networks for each in trial.evaluations(of)},
        "checks": {trial.sanity.key} if trial.sanity else set(),
        "epochs": path,
        "modules": path,
    }
    found = {}
    for table, keys in wanted.items():
        rows = tables.arrow(table)
        own = pc.is_in(rows[KEY[table][0]], pa.array(sorted(keys), pa.string()))
        found[table] = rows.filter(own).to_pylist()
    return found


def _reasons(bundle: Bundle, row: Mapping[str, Any], device: str) -> Iterator[str]:
    """Say what is another here than where a trial was computed."""
    from orchestrator.worker.provenance import provenance
    from prune_core import __version__

    here = {"version": __version__, **provenance(device)}
    for name in PROVENANCE:
        said = row[name] if isinstance(row.get(name), str) else None
        known = said is not None or name == "accelerator"  # a row without one is of a processor
        if known and said != here[name]:
            yield f"{name} is {here[name] or 'none'} here, and was {said or 'none'}"
    now, rows = installed(), bundle.record["lock"]["rows"]
    for name, version in bundle.record["lock"]["installed"].items():
        if name not in rows and now.get(name, version) != version:
            yield f"{name} is {now[name]} here, and was {version} where it was bundled"
