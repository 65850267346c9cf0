"""What prune_core refuses: every error that it raises by a name of its own, under one base."""

from __future__ import annotations


class PruneCoreError(Exception):
    """The base of this package's errors; the message says what was wrong and what is allowed."""


class UnknownMethodError(PruneCoreError, ValueError):
    """A name that an axis does not know."""


class DeclarationError(PruneCoreError, ValueError):
    """A method that is declared in a way that cannot be read; the message says file and line."""


class DatasetError(PruneCoreError, RuntimeError):
    """A data set that is missing or damaged; the message says what to do."""


class DivergedError(PruneCoreError, ArithmeticError):
    """The loss was not finite: the same training would diverge again."""
