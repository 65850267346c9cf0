"""The one base of this package's errors."""

from __future__ import annotations


class OrchestratorError(ValueError):
    """A request that cannot be met: the message says what was wrong, given and allowed."""


class RequestError(OrchestratorError):
    """A request on the command line that cannot be met; the message says what could be."""
