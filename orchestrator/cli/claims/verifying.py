"""``mrsweep verify``: a certificate derived again from Parquet, and what differs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError
from rich.console import Console

from orchestrator.errors import RequestError
from orchestrator.sweepfile.claim import Claim
from results.claims.certificate import (
    FORMAT,
    code_digest,
    derived,
    differences,
    digest,
    versions,
)
from results.tables.storage import Storage
from results.tables.store import Tables

TABLES = "tables"


def verify_certificate(file: Path, tables: str, console: Console) -> bool:
    """Print what differs between a certificate and what tables say; return whether nothing does."""
    said = _read(file)
    try:
        found = list(_differences(said, _trials(tables)))
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise RequestError(f"{file} is no whole certificate: {error}") from error
    for line in found:
        console.print(f"differs: {line}", highlight=False, markup=False)
    for line in _notes(said):
        console.print(f"note: {line}", highlight=False, markup=False)
    head = f"{len(found)} things differ" if found else "Verified"
    console.print(f"{head}: {said['sentence']}", highlight=False, markup=False)
    return not found


def _read(file: Path) -> dict[str, Any]:
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"{file} cannot be read as a certificate: {error}") from error
    if not isinstance(said, dict) or said.get("certificate") != FORMAT:
        raise RequestError(f"{file} is no certificate of format {FORMAT}, which this version reads")
    return said


def _trials(tables: str) -> pd.DataFrame:
    """Return the rows of ``trials`` of a storage root, or of the folder of its tables."""
    path = Path(tables)
    storage = Storage(str(path.parent) if path.name == TABLES and path.is_dir() else tables)
    storage.check()
    if not storage.exists(TABLES, "trials"):
        raise RequestError(f"no tables in {tables!r}; give a storage root, or its folder {TABLES}")
    return Tables(storage).read("trials")


def _differences(said: dict[str, Any], trials: pd.DataFrame) -> Iterator[str]:
    claim = Claim.model_validate(said["claim"])
    if (design := claim.design) is None:
        raise ValueError("its claim has no seeds")
    planned = pd.DataFrame(said["trials"]["data"], columns=said["trials"]["columns"])
    there = planned["trial_id"].isin(trials["trial_id"])
    looked = said["looks"][-1]["seeds"] if said["looks"] else 0
    if lost := int((~there & (planned["seed"] < looked)).sum()):
        yield f"tables: {lost} trials that it was decided on are not there"
    found = {
        "asks": str(claim.question),
        "design": {"seeds": design.seeds, "alphas": design.alphas},
        **derived(claim.claim, claim.question, design, trials, planned),
    }
    yield from differences({name: said[name] for name in found}, found)
    yield from differences(said["digests"]["claim"], digest(said["claim"]), "digests.claim")


def _notes(said: dict[str, Any]) -> Iterator[str]:
    """Say what is another here, and changes no number by itself."""
    if said["digests"]["results"] != code_digest():
        yield "the code that derives numbers is another than that of the certificate"
    others = [f"{name} {one}" for name, one in versions().items() if said["versions"][name] != one]
    if others:
        yield f"libraries are of other versions here: {', '.join(others)}"
    before, planned = (said["registered"][name] for name in ("trials_before", "trials_planned"))
    if before:
        yield f"{before} of its {planned} trials were there when it was registered"
