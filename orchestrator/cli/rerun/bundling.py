"""``mrsweep bundle``: what a sweep found, as a folder or zip that others can do again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console

import results
from orchestrator.cli.request import open_sweep
from orchestrator.cli.rerun import contents
from orchestrator.cli.rerun.lock import lock, requirements
from orchestrator.cli.rerun.sweepfile import CHECKPOINTS, portable
from orchestrator.cli.rerun.whole import refuse_places, whole
from orchestrator.cli.selection import matching
from orchestrator.errors import RequestError
from orchestrator.planning.outsiders import digests_of
from orchestrator.planning.plan import Plan
from prune_core import __version__
from prune_core.specs.stages import Trial
from results.claims.certificate import code_digest
from results.errors import AnalysisError
from results.publish import cards
from results.publish.about import About, File
from results.publish.crate import DESCRIPTOR, crate
from results.publish.croissant import croissant
from results.publish.provenance import compute, computed
from results.report.front import what_was_run
from results.report.judged import Judged, judged
from results.tables.load import Loaded
from results.tables.storage import Storage

FORMAT = 1
RECORD = "bundle.json"
SPDX_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")


@dataclass(frozen=True)
class How:
    """What a bundle is to have: the options of the command."""

    creators: tuple[str, ...] = ()
    licence: str = ""
    networks: tuple[str, ...] = ()
    select: str = ""
    device: str = "auto"


def write_bundle(
    file: Path, target: Path, storage: str, how: How, changes: Sequence[str], console: Console
) -> None:
    """Write a bundle of what a sweep found so far; all of it, or nothing.

    Args:
        file: The sweep file.
        target: The folder or, with this ending, the ``.zip`` to write; it is not there yet.
        storage: The storage root.
        how: What the bundle is to have.
        changes: Settings of the file to change, each a ``section.key=value``.
        console: Where to print.

    Raises:
        RequestError: It cannot be written, or names a place of this machine.
    """
    _check(how)
    plan, root = open_sweep(file, storage, changes)
    loaded = results.load(storage, plan.sweep.name)
    text = contents.planned(plan, loaded)
    jobs = matching(how.select, plan) if how.networks else []
    with whole(target) as stage, console.status("gathering the bundle"):
        tables = contents.tables_of(loaded)
        files = contents.written(contents.gathered(plan, text, loaded, tables), stage)
        for job in jobs:
            if isinstance(job.stage, Trial):
                _write_networks(root, job.stage, how, stage)
        files |= _networks(stage)
        heard = _judged(loaded)
        about = _about(plan, loaded, heard, how, files)
        files = _described(about, tables, stage)
        record = _record(plan, text, loaded, heard, about, files)
        contents.written({RECORD: _json(record)}, stage)
        refuse_places(stage, (str(Path.home()), str(Path.cwd()), root.root if root.local else ""))
    _say(target, about, files, console)


def _check(how: How) -> None:
    faults = []
    if how.licence and not SPDX_FORM.fullmatch(how.licence):
        faults.append(f"--license {how.licence!r} is no SPDX identifier, such as CC-BY-4.0 or MIT")
    if how.select and not how.networks:
        faults.append("--select says whose networks come along: give --network too")
    if faults:
        raise RequestError("\n".join(faults))


def _judged(loaded: Loaded) -> Judged | str:
    """Return the verdicts, or why there are none."""
    try:
        return judged(loaded)
    except AnalysisError as error:
        return str(error)


def _write_networks(root: Storage, trial: Trial, how: How, stage: Path) -> None:
    from orchestrator.worker import networks
    from orchestrator.worker.device import resolve_device
    from prune_core.exports import formats
    from results.tables.store import Tables

    row = (Tables(root).find("trials", trial.key) or [{}])[0]
    row = {name: value for name, value in row.items() if name not in ("node", "error")}
    for which in how.networks:
        found = networks.found(root, trial, which, resolve_device(how.device), row, "kept")
        folder = stage / "networks" / f"{trial.key}-{which}"
        formats.write(found.network, found.description, "safetensors", folder)


def _networks(stage: Path) -> dict[str, File]:
    paths = (path for path in (stage / "networks").rglob("*") if path.is_file())
    held: dict[str, bytes | Path] = {path.relative_to(stage).as_posix(): path for path in paths}
    return contents.written(held, stage)


def _about(
    plan: Plan, loaded: Loaded, heard: Judged | str, how: How, files: dict[str, File]
) -> About:
    carried = heard if isinstance(heard, Judged) else None
    trials = loaded.trials
    counts = loaded.evaluations["count"]
    images = int(counts.max()) if len(counts) else None
    return About(
        sweep=plan.sweep.name,
        made=datetime.now(UTC).date(),
        version=__version__,
        creators=how.creators,
        licence=how.licence,
        trials=trials,
        planned=len(plan.trials),
        verdicts={one.metric: one.sentence for one in carried.verdicts} if carried else {},
        caveats=tuple(carried.caveats() if carried else [f"No verdict: {heard}."]),
        run=tuple(what_was_run(trials, carried.metrics[0], images) if carried else ()),
        computed=tuple(computed(trials)),
        methods=tuple(name.partition(" ")[2] for name in digests_of(plan.sweep)),
        checkpoints=tuple(sorted(path for path in files if path.startswith(f"{CHECKPOINTS}/"))),
        files=files,
    )


def _described(about: About, tables: dict[str, pa.Table], stage: Path) -> dict[str, File]:
    """Write the files that describe the others, each of all that were there before it."""
    held = {name: (f"tables/{name}/{contents.TABLE}", rows.schema) for name, rows in tables.items()}
    makers: dict[str, Callable[[About], bytes]] = {
        "requirements.txt": lambda of: requirements(lock(of.computed)).encode(),
        "CITATION.cff": lambda of: cards.citation(of).encode(),
        "README.md": lambda of: cards.card(of, tables).encode(),
        "croissant.json": lambda of: _json(croissant(of, held)),
        DESCRIPTOR: lambda of: _json(crate(of)),
    }
    for path, make in makers.items():
        made = contents.written({path: make(about)}, stage)
        about = replace(about, files={**about.files, **made})
    return dict(about.files)


def _record(
    plan: Plan,
    text: str,
    loaded: Loaded,
    heard: Judged | str,
    about: About,
    files: dict[str, File],
) -> dict[str, Any]:
    """Return what ``mrsweep reproduce`` reads: the lock, provenance, verdicts, and digests."""
    took = compute(loaded.jobs)
    status = about.trials["status"].value_counts()
    return {
        "bundle": FORMAT,
        "sweep": about.sweep,
        "made": about.made.isoformat(),
        "mrsweep": about.version,
        "trials": {"planned": about.planned, **{str(k): int(n) for k, n in status.items()}},
        "lock": lock(about.computed),
        "provenance": list(about.computed),
        "compute": json.loads(took.to_json(orient="records")),
        "methods": digests_of(plan.sweep),
        "content": {name: data.content for name, data in plan.sweep.datasets.items()},
        "elsewhere": portable(text, plan).elsewhere,
        "results": code_digest(),
        "verdicts": contents.verdicts_of(heard) if isinstance(heard, Judged) else {},
        "without_verdict": heard if isinstance(heard, str) else None,
        "files": {path: file.sha256 for path, file in sorted(files.items())},
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _say(target: Path, about: About, files: dict[str, File], console: Console) -> None:
    size = sum(file.size for file in files.values())
    console.print(f"Bundle written to {target}: {len(files) + 1} files, {size:,} bytes")
    console.print(about.missing, highlight=False)
    if not about.creators:
        console.print("Open: who made it (--creator NAME).", highlight=False)
    if not about.licence:
        console.print("Open: its licence (--license CC-BY-4.0).", highlight=False)
    console.print(f"Try it:  mrsweep reproduce {target}", highlight=False)
