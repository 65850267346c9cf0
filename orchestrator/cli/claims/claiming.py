"""``mrsweep claim``: a claim is registered, run by its design, and certified."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from orchestrator.cli.claims.planning import show_design
from orchestrator.cli.request import told_content
from orchestrator.cli.running import How, run_plan
from orchestrator.cli.status import show_plan
from orchestrator.errors import RequestError
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.state.survey import survey
from orchestrator.sweepfile.claim import Registered, read_claim
from orchestrator.sweepfile.model import Sweep
from prune_core import __version__
from results.claims.certificate import (
    FORMAT,
    Certificate,
    code_digest,
    derived,
    digest,
    labelled,
    versions,
)
from results.claims.design import LEAST_SEEDS, Design
from results.errors import StorageIOError
from results.tables.storage import Storage
from results.tables.store import Tables


def show(file: Path, storage: str, console: Console) -> bool:
    """Show what a claim asks, how surely its design decides it, and what that costs."""
    registered, root = _opened(file, storage)
    claim = registered.claim
    seeds = claim.seeds[-1] if claim.seeds else LEAST_SEEDS
    plan = _plan(registered, root, seeds)
    show_design(claim, labelled(Tables(root).read("trials"), _planned(plan)), console)
    if not claim.seeds:
        console.print(f"\nAt {seeds} seeds, the fewest, its trials would be:", highlight=False)
    show_plan(plan, root, survey(plan, root), console)
    return True


def run(file: Path, storage: str, how: How, to: Path, console: Console) -> bool:
    """Run a claim look by look until it is decided; return whether its design has ended."""
    registered, root = _opened(file, storage)
    design = _design(registered)
    _register(registered, root, _plan(registered, root, design.seeds[-1]))
    text = f"# The cells that the claim {registered.name!r} asks for, of this sweep:\n"
    try:
        for seeds in design.seeds:
            plan = _plan(registered, root, seeds)
            if not run_plan(plan, text + registered.text, root, how, console):
                break
            if _certificate(registered, root)["final"]:
                break
    except StorageIOError as error:
        raise RequestError(
            f"storage root {storage!r} failed: {error}; finished work is kept, and the same "
            "command goes on with the rest"
        ) from error
    return certify(file, storage, to, console)


def certify(file: Path, storage: str, to: Path, console: Console) -> bool:
    """Write the certificate of what is there; return whether the design has ended.

    Raises:
        RequestError: The claim is not registered, or was registered in other words.
    """
    registered, root = _opened(file, storage)
    made = _certificate(registered, root)
    try:
        to.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise RequestError(f"{to} cannot be written: {error.strerror}") from error
    console.print()
    console.print(made["sentence"], style="bold", highlight=False, markup=False)
    if made["dependence"]:
        console.print(made["dependence"], highlight=False, markup=False)
    console.print(f"\nCertificate:  {to}\nVerify:  mrsweep verify {to} {storage}", highlight=False)
    return bool(made["final"])


def _opened(file: Path, storage: str) -> tuple[Registered, Storage]:
    registered, root = read_claim(file), Storage(storage)
    root.check()
    return registered, root


def _design(registered: Registered) -> Design:
    if (design := registered.claim.design) is None:
        raise RequestError(
            f"{registered.name}: seeds are not written down yet; `mrsweep claim FILE plan` says "
            "how many it takes: write seeds: 5, or seeds: [3, 5, 8] for a look at each"
        )
    return design


def _plan(registered: Registered, root: Storage, seeds: int) -> Plan:
    return make_plan(told_content(registered.cells(seeds), root))


def _planned(plan: Plan) -> pd.DataFrame:
    return pd.DataFrame(plan.rows())


def _register(registered: Registered, root: Storage, plan: Plan) -> None:
    """Write a claim down before it is tested; it may not be another one afterwards."""
    there = len(labelled(Tables(root).read("trials"), _planned(plan)))
    record = {
        "claim": _words(registered),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "trials_before": there,
        "trials_planned": len(plan.trials),
        "version": __version__,
    }
    data = json.dumps(record, indent=1, ensure_ascii=False).encode()
    root.create(data, "claims", registered.name, "registered.json")
    _registration(registered, root)


def _words(registered: Registered) -> dict[str, Any]:
    """Return what may not change once a claim is registered: the sweep's text, not its place."""
    claim: dict[str, Any] = registered.claim.model_dump(mode="json")
    return {**claim, "sweep": digest(registered.text)}


def _registration(registered: Registered, root: Storage) -> dict[str, Any]:
    data = root.read("claims", registered.name, "registered.json")
    if data is None:
        raise RequestError(
            f"{registered.name} is not registered in {root.root}: `mrsweep claim FILE run` does so"
        )
    record: dict[str, Any] = json.loads(data)
    now = _words(registered)
    changed = [name for name in now if now[name] != record["claim"].get(name)]
    if changed:
        raise RequestError(
            f"{registered.name} was registered otherwise at {record['at']} "
            f"({', '.join(changed)}): a claim is not changed once it may have been tested; give "
            "another one a file of its own"
        )
    return record


def _data_digest(sweep: Sweep) -> str:
    """Return a digest of what the images are; where they lie does not matter."""
    sets = {name: of.model_dump(mode="json", exclude={"root"})
            for name, of in sweep.datasets.items()}  # fmt: skip
    return digest(sets if sweep.dataset is None else sets[sweep.dataset.name])


def _certificate(registered: Registered, root: Storage) -> Certificate:
    claim, design = registered.claim, _design(registered)
    record = _registration(registered, root)
    plan = _plan(registered, root, design.seeds[-1])
    planned = _planned(plan)
    trials = Tables(root).read("trials")
    found = derived(claim.claim, claim.question, design, trials, planned)
    rows = labelled(trials, planned)
    said = claim.model_dump(mode="json")
    return {
        "certificate": FORMAT,
        "name": registered.name,
        "claim": said,
        "asks": str(claim.question),
        "design": {"seeds": design.seeds, "alphas": design.alphas},
        "registered": {name: record[name] for name in record if name != "claim"},
        **found,
        "digests": {
            "claim": digest(said),
            "sweep": digest(registered.text),
            "data": _data_digest(plan.sweep),
            "results": code_digest(),
        },
        "computed": {
            name: sorted(map(str, rows[name].dropna().unique()))
            for name in ("version", "commit", "torch", "processor", "accelerator")
        },
        "versions": {"mrsweep": __version__, **versions()},
        "trials": planned.to_dict("split", index=False),
    }
