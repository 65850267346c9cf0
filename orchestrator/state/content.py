"""What a sweep's images are: told by their files, by the sweep file, or by an earlier run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import RequestError
from orchestrator.sweepfile.model import Sweep
from prune_core.data.content import content
from prune_core.errors import DatasetError
from results.tables.storage import Storage

RECORD = "data.json"
"""Beside the plan: what the images were, and what their classes are called."""


def with_content(sweep: Sweep, storage: Storage, tell: Callable[[int, int], None]) -> Sweep:
    """Return a sweep that says what its images are, as far as that can be known here.

    Args:
        sweep: The sweep; other than built-in images are known by the digest of their files.
        storage: The storage root, where an earlier run may have written it down.
        tell: Called with how many files have been read, of how many.

    Raises:
        RequestError: The images are not those that the sweep file says, or cannot be read.
    """
    data = sweep.dataset
    if not data.has_content:
        return sweep
    if not Path(str(data.root)).is_dir():
        known = data.content or _recorded(sweep.name, storage).get("content")
        return sweep.model_copy(update={"dataset": data.model_copy(update={"content": known})})
    try:
        found = content(data, tell)
    except DatasetError as error:
        raise RequestError(f"dataset: {error}") from error
    if data.content not in (None, found):
        raise RequestError(
            f"dataset.content is {data.content}, but the files in {data.root} are {found}: give "
            "the folder that is meant, or that content"
        )
    return sweep.model_copy(update={"dataset": data.model_copy(update={"content": found})})


def record_images(sweep: Sweep, storage: Storage, classes: Sequence[str] = ()) -> None:
    """Write down what a sweep's images are, for machines that do not have them, and for people.

    Args:
        sweep: The sweep.
        storage: The storage root.
        classes: What the files call the classes 0, 1, ...; empty where that is not known here.
    """
    facts = {"content": sweep.dataset.content, "classes": list(classes)}
    told = {name: fact for name, fact in facts.items() if fact}
    if told:
        data = json.dumps({**_recorded(sweep.name, storage), **told}).encode()
        storage.write(data, "sweeps", sweep.name, RECORD)


def _recorded(name: str, storage: Storage) -> dict[str, Any]:
    data = storage.read("sweeps", name, RECORD)
    facts: dict[str, Any] = json.loads(data) if data else {}
    return facts
