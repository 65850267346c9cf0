"""What results refuses: every error that it raises by a name of its own, under one base."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def allowed(given: object, known: Iterable[object]) -> str:
    """Say which names there are, and which of them is nearest to the given one."""
    names = [str(name) for name in known]
    near = difflib.get_close_matches(str(given), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}there are: {', '.join(names) or 'none'}"


class ResultsError(Exception):
    """The base of this package's errors; the message says what was wrong and what is allowed."""


class AnalysisError(ResultsError, ValueError):
    """Data that cannot carry the question; the message says what is missing."""


class StorageError(ResultsError, RuntimeError):
    """A storage root that cannot be used; the message says why."""


class StorageIOError(ResultsError, OSError):
    """A read or write that failed: full, read-only, out of reach. No fault of what was written."""


class TableError(ResultsError, RuntimeError):
    """A table file that this version cannot read; the message names it."""


class DamagedError(ResultsError, ValueError):
    """A file that does not hold what was written."""
