"""What a sweep's images are: told by their files, by the sweep file, or by an earlier run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import RequestError
from orchestrator.sweepfile.model import Sweep
from prune_core.data.content import content
from prune_core.errors import DatasetError
from prune_core.specs.settings import Dataset
from results.tables.storage import Storage

Classes = Mapping[str, Sequence[str]]
"""By data set, what the classes 0, 1, ... are called."""
RECORD = "data.json"
"""Beside the plan: what the images were, and what their classes are called."""


def with_content(sweep: Sweep, storage: Storage, tell: Callable[[str, int, int], None]) -> Sweep:
    """Return a sweep that says what its images are, as far as that can be known here.

    Args:
        sweep: The sweep; other than built-in images are known by the digest of their files.
        storage: The storage root, where an earlier run may have written it down.
        tell: Called with a data set's name, and how many of its files have been read, of how many.

    Raises:
        RequestError: The images are not those that the sweep file says, or cannot be read.
    """
    told = {name: _told(name, data, sweep, storage, tell) for name, data in sweep.datasets.items()}
    return sweep.model_copy(update={"datasets": told})


def _told(
    name: str,
    data: Dataset,
    sweep: Sweep,
    storage: Storage,
    tell: Callable[[str, int, int], None],
) -> Dataset:
    if not data.has_content:
        return data
    if not Path(str(data.root)).is_dir():
        known = data.content or _recorded(sweep, storage)[name].get("content")
        return data.model_copy(update={"content": known})
    key = sweep.images_key(name)
    try:
        found = content(data, lambda done, total: tell(name, done, total))
    except DatasetError as error:
        raise RequestError(f"{key}: {error}") from error
    if data.content not in (None, found):
        raise RequestError(
            f"{key}.content is {data.content}, but the files in {data.root} are {found}: give "
            "the folder that is meant, or that content"
        )
    return data.model_copy(update={"content": found})


def record_images(sweep: Sweep, storage: Storage, classes: Classes | None = None) -> None:
    """Write down what a sweep's images are, for machines that do not have them, and for people.

    Args:
        sweep: The sweep.
        storage: The storage root.
        classes: What the files call them, where that is known here.
    """
    before, told = _recorded(sweep, storage), {}
    for name, data in sweep.datasets.items():
        facts = {"content": data.content, "classes": list((classes or {}).get(name, ()))}
        told[name] = before[name] | {what: fact for what, fact in facts.items() if fact}
    if any(told.values()):
        # One data set's facts stand alone, as they did when a sweep had no more.
        record = told if sweep.dataset is None else next(iter(told.values()))
        storage.write(json.dumps(record).encode(), "sweeps", sweep.name, RECORD)


def _recorded(sweep: Sweep, storage: Storage) -> dict[str, dict[str, Any]]:
    """Return what an earlier run wrote down of each data set."""
    data = storage.read("sweeps", sweep.name, RECORD)
    record: dict[str, Any] = json.loads(data) if data else {}
    return {name: record if sweep.dataset else record.get(name, {}) for name in sweep.datasets}
