"""What all descriptions of a bundle are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pandas as pd

OPEN = "OPEN: to be filled in"
"""What the tables do not know; nothing is made up."""
SPDX = "https://spdx.org/licenses/"
ENDINGS = {
    "parquet": "application/x-parquet",
    "yaml": "application/yaml",
    "json": "application/json",
    "py": "text/x-python",
    "txt": "text/plain",
    "md": "text/markdown",
    "cff": "application/yaml",
}
PARTS = {
    "tables/": "rows of this sweep alone; columns are described in croissant.json",
    "sweeps/": "the sweep file as it ran, and its planned trials",
    "bundle.json": "the lock, where rows come from, the verdicts, digests of all files",
    "requirements.txt": "names and versions of what computed it",
    "code/": "code of the sweep's own methods",
    "checkpoints/": "weights that dense networks start from",
    "networks/": "networks of trials, by their ids",
    "CITATION.cff": "how to cite it",
    "README.md": "what it is and what was found",
    "croissant.json": "Croissant metadata",
}
"""By where files lie, what they are."""


@dataclass(frozen=True)
class File:
    """A file of a bundle: its bytes, and their SHA-256."""

    size: int
    sha256: str


@dataclass(frozen=True)
class About:
    """A bundle, as its descriptions tell of it."""

    sweep: str
    made: date
    version: str
    """Of mrsweep, that made the bundle."""
    creators: tuple[str, ...]
    licence: str
    """Its SPDX identifier; empty where none is given."""
    trials: pd.DataFrame
    """The rows of ``trials``."""
    planned: int
    verdicts: Mapping[str, str]
    """By metric, the sentence of its verdict, the one that leads first."""
    caveats: tuple[str, ...]
    run: tuple[tuple[str, str], ...]
    """What was run, as the report says it."""
    computed: tuple[dict[str, Any], ...]
    """By what; see `results.publish.provenance.computed`."""
    methods: tuple[str, ...] = ()
    """Methods of the user's own, whose code comes along."""
    checkpoints: tuple[str, ...] = ()
    """What dense networks start from that comes along, or lies on the Hub."""
    files: Mapping[str, File] = field(default_factory=dict)
    """By path, what there is to describe."""

    @property
    def title(self) -> str:
        """Its name for people."""
        return f"Results of the pruning sweep {self.sweep}"

    @property
    def description(self) -> str:
        """It in two sentences."""
        done = int((self.trials["status"] == "done").sum())
        said = next(iter(self.verdicts.values()), "The tables carry no verdict.")
        return (
            f"Tables of the sweep {self.sweep}: {done} of {self.planned} trials done, each a "
            "neural network that was pruned, fine-tuned and evaluated on clean and attacked test "
            f"images by mrsweep. {said}"
        )

    @property
    def licence_url(self) -> str:
        """Where the licence is; that it is open where none is given."""
        return f"{SPDX}{self.licence}" if self.licence else OPEN

    @property
    def authors(self) -> tuple[str, ...]:
        """Who made it; that it is open where nobody is given."""
        return self.creators or (OPEN,)

    @property
    def missing(self) -> str:
        """Which rows are not there, in words."""
        failed = int((self.trials["status"] == "failed").sum())
        absent = self.planned - len(self.trials)
        if not failed + absent:
            return f"All {self.planned} planned trials are done."
        return (
            f"Of {self.planned} planned trials, {failed} failed (their rows say why) and {absent} "
            "have no row."
        )

    @property
    def span(self) -> tuple[str, str] | None:
        """The days of the first and the last row; None where rows do not say."""
        days = self.trials["finished"].dropna()
        return (f"{days.min():%Y-%m-%d}", f"{days.max():%Y-%m-%d}") if len(days) else None


def media_type(path: str) -> str:
    """Return the media type of a file, by its ending."""
    return ENDINGS.get(path.rpartition(".")[2], "application/octet-stream")


def purpose(path: str) -> str:
    """Return what a file of a bundle is."""
    return next((words for part, words in PARTS.items() if path.startswith(part)), path)
